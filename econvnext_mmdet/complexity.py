"""Parameters and multiply-adds of a model, counted as papers do."""
from dataclasses import dataclass
from typing import Optional, Tuple

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .datasets.checks import datasets_of, is_classification
from .engine.run import errors_of_the_user
from .errors import UserError


@dataclass
class Complexity:
    """Number of parameters, and of multiply-adds (MACs) for one image."""
    params: int
    macs: int


def count(model: nn.Module, *inputs, **kwargs) -> Complexity:
    """Count the parameters of a model and the multiply-adds of one call of it in evaluation.

    Convolutions, linear layers and matrix products only, a multiply-add as one: neither norms, activations
    and other element-wise work nor pooling.

    Args:
        model (nn.Module): The model; it is left in evaluation mode.
        *inputs: What it is called with.
        **kwargs: Likewise, by name.

    Returns:
        Complexity: The counts.
    """
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*inputs, **kwargs)
    # torch counts a multiply-add as two operations.
    return Complexity(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)


def default_shape(cfg: Config) -> Tuple[int, int]:
    """Height and width in pixels of the image by which papers count a config's model.

    That of ImageNet or COCO, or the size to which the test resizes whatever the image's shape, as YOLO does.
    """
    if is_classification(cfg):
        return 224, 224
    resize = _test_resize(cfg)
    return (800, 1280) if resize is None or resize.get('keep_ratio') else tested_shape(cfg)


def tested_shape(cfg: Config) -> Tuple[int, int]:
    """Height and width in pixels of what the network gets in a config's test.

    That is the size to which the test pipeline resizes, each side filled up to a multiple of the preprocessor's
    ``pad_size_divisor``.

    Raises:
        UserError: The test pipeline has no Resize with a scale.
    """
    resize = _test_resize(cfg)
    if resize is None:
        raise UserError('the size of the test\'s images is not known: expected a Resize with a scale in '
                        'test_dataloader.dataset.pipeline of the config')
    scale = resize['scale']
    width, height = (scale, scale) if isinstance(scale, int) else scale
    divisor = (cfg.model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def _test_resize(cfg: Config) -> Optional[dict]:
    """The step of the test pipeline that resizes to a scale."""
    steps = (step for dataset in datasets_of(cfg, 'test') for step in dataset.get('pipeline') or ())
    return next((step for step in steps if type_name(step) == 'Resize' and step.get('scale')), None)


def type_name(part: dict) -> str:
    """The name of the type of a part of a config, without its scope or module."""
    kind = part['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def build_model(cfg: Config) -> nn.Module:
    """Build a config's detector or classifier to run it by ``mode='tensor'``, without decoding and NMS.

    Second stages get as many regions as the first one proposes, as a rule 1000, and masks are computed for 100.

    Args:
        cfg (Config): The config.

    Returns:
        nn.Module: The model, in evaluation mode, with random weights.

    Raises:
        UserError: The config names what no registry has, or a setting that its type does not have.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    with errors_of_the_user():
        model = MODELS.build(cfg.model)
    model.eval()
    if type(getattr(model, 'roi_head', None)) is CascadeRoIHead:  # those made from it have other arguments
        _limit_masks(model.roi_head)
    return model


def count_model(cfg: Config, shape: Tuple[int, int]) -> Tuple[Complexity, Complexity]:
    """Count the model of :func:`build_model`, and its backbone alone, for one image.

    Args:
        cfg (Config): The config.
        shape (tuple[int, int]): Height and width of the image in pixels.

    Returns:
        tuple[Complexity, Complexity]: Of the model and of its backbone.
    """
    model = build_model(cfg)
    return count_network(model, shape), count(model.backbone, torch.zeros(1, 3, *shape))


def count_network(model: nn.Module, shape: Tuple[int, int]) -> Complexity:
    """Count a model of :func:`build_model` for one image of a shape (height, width) in pixels."""
    return count(model, torch.zeros(1, 3, *shape), [unscaled_sample(shape)], mode='tensor')


def _limit_masks(roi_head: CascadeRoIHead) -> None:
    """Have a cascade compute masks for 100 regions, as inference does and other heads' forward too."""
    forward = roi_head._mask_forward

    def limited(stage: int, x: Tuple[Tensor, ...], rois: Tensor) -> dict:
        masks = forward(stage, x, rois[:100])['mask_preds']
        return dict(mask_preds=masks.new_zeros(len(rois), *masks.shape[1:]))

    roi_head._mask_forward = limited


def unscaled_sample(shape: Tuple[int, int]) -> DetDataSample:
    """What a detector wants to know of an image of a shape (height, width) that is taken as it is."""
    return DetDataSample(metainfo=dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape,
                                       scale_factor=(1., 1.)))
