"""Parameters and multiply-adds of a model, counted as papers do."""
from dataclasses import dataclass
from typing import Tuple

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .datasets.checks import is_classification
from .engine.run import errors_of_the_user


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
    """Height and width in pixels of the image by which papers count a config's model: COCO's or ImageNet's."""
    return (224, 224) if is_classification(cfg) else (800, 1280)


def count_model(cfg: Config, shape: Tuple[int, int]) -> Tuple[Complexity, Complexity]:
    """Count a config's detector or classifier, and its backbone alone, for one image without decoding and NMS.

    Second stages get as many regions as the first one proposes, as a rule 1000, and masks are computed for 100.

    Args:
        cfg (Config): The config.
        shape (tuple[int, int]): Height and width of the image in pixels.

    Returns:
        tuple[Complexity, Complexity]: Of the model and of its backbone.
    """
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    with errors_of_the_user():
        model = MODELS.build(cfg.model)
    if type(getattr(model, 'roi_head', None)) is CascadeRoIHead:  # those made from it have other arguments
        _limit_masks(model.roi_head)
    image = torch.zeros(1, 3, *shape)
    return count(model, image, [unscaled_sample(shape)], mode='tensor'), count(model.backbone, image)


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
