"""Counting the parameters and multiply-adds of a model in the way that papers do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..engine.config_values import check_values
from ..utils.config import datasets_of, is_classification, type_name
from ..utils.errors import UserError
from ..utils.model import build_model, unscaled_sample


@dataclass
class Complexity:
    """The number of parameters, and of multiply-adds (MACs) for one image."""

    params: int
    macs: int


def count(model: nn.Module, *inputs: Any, **kwargs: Any) -> Complexity:
    """Count the parameters of a model, and the multiply-adds of one call in evaluation mode.

    Only convolutions, linear layers and matrix products count. Norms, activations, other element-wise operations and
    pooling do not count.

    Args:
        model: The model. It is left in evaluation mode.
        *inputs: The positional arguments of the call. The first one is the images (N, 3, H, W).
        **kwargs: The keyword arguments of the call.

    Returns:
        The counts.

    Raises:
        UserError: The model cannot process such images.
    """
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), explain_size(inputs[0].shape[2:]):
        model(*inputs, **kwargs)
    # torch counts a multiply-add as two operations.
    return Complexity(sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2)


def default_shape(cfg: Config) -> tuple[int, int]:
    """The image size (height, width) in pixels at which papers count the multiply-adds of a model.

    If the test pipeline resizes every image to the same shape, as in YOLO, the result is that shape. Otherwise the
    result is the usual size for ImageNet (224 x 224) or COCO (800 x 1280).

    Raises:
        UserError: A setting of the config has a wrong type.
    """
    check_values(cfg)
    if is_classification(cfg):
        return 224, 224
    resize = _test_resize(cfg)
    return (800, 1280) if resize is None or resize.get('keep_ratio') else tested_shape(cfg)


def tested_shape(cfg: Config) -> tuple[int, int]:
    """The height and width in pixels of the network's input for an image that fills the test pipeline's scale.

    The test pipeline resizes images to this scale. With ``keep_ratio``, it resizes them to fit into this scale, with
    width and height swapped for a portrait image. Each side is then padded to a multiple of the preprocessor's
    ``pad_size_divisor``.

    Raises:
        UserError: The test pipeline has no Resize with a scale, or the scale or the divisor is malformed.
    """
    resize = _test_resize(cfg)
    if resize is None:
        raise UserError(
            'the size of the test images is unknown: expected a Resize with a scale in '
            'test_dataloader.dataset.pipeline of the config'
        )
    scale = resize['scale']
    divisor = (cfg.model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    try:
        width, height = (scale, scale) if isinstance(scale, int) else scale
        return -(-height // divisor) * divisor, -(-width // divisor) * divisor
    except (TypeError, ValueError, ZeroDivisionError):
        raise UserError(
            f'the size of the test images is unknown: the Resize in test_dataloader.dataset.pipeline has the scale '
            f'{scale!r}, and model.data_preprocessor has pad_size_divisor={divisor!r}; expected whole numbers'
        ) from None


def _test_resize(cfg: Config) -> dict | None:
    """The step of the test pipeline that resizes to a scale."""
    steps = (step for dataset in datasets_of(cfg, 'test') for step in dataset.get('pipeline') or ())
    return next((step for step in steps if type_name(step) == 'Resize' and step.get('scale')), None)


def build_network(cfg: Config) -> BaseModel:
    """Build the model of a config for calls with ``mode='tensor'``, which leave out decoding and NMS.

    The second stage of a detector gets all regions that the first stage proposes, usually 1000. Masks are computed for
    100 of them.

    Args:
        cfg: The config.

    Returns:
        The model in evaluation mode, with random weights.

    Raises:
        UserError: The config names a type that is not registered, or gives a type an argument that it does not have.
    """
    model = build_model(cfg).eval()
    roi_head = getattr(model, 'roi_head', None)
    if type(roi_head) is CascadeRoIHead:  # the methods of its subclasses have other arguments
        _limit_masks(roi_head)
    return model


def count_model(cfg: Config, shape: tuple[int, int]) -> tuple[Complexity, Complexity]:
    """Count the parameters and multiply-adds of a config's model and of its backbone alone, for one image.

    Args:
        cfg: The config.
        shape: Height and width of the image in pixels.

    Returns:
        The counts of the model, and the counts of its backbone.

    Raises:
        UserError: The model cannot be built, or cannot process such an image.
    """
    model = build_network(cfg)
    return count_network(model, shape), count(model.backbone, torch.zeros(1, 3, *shape))


@contextmanager
def explain_size(shape: Sequence[int]) -> Iterator[None]:
    """Turn whatever a network raises for images of a size into a UserError.

    Args:
        shape: Height and width of the images in pixels.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a network may raise anything
        reason = ' '.join(f'{type(error).__name__}: {error}'.split())[:300]
        raise UserError(
            f'the model cannot process images of {shape[0]} x {shape[1]} pixels: {reason}. Give another size, or '
            'correct the model in the config.'
        ) from error


def count_network(model: nn.Module, shape: tuple[int, int]) -> Complexity:
    """Count the parameters and multiply-adds of a model from :func:`build_network`, for one image.

    Args:
        model: The model.
        shape: Height and width of the image in pixels.

    Raises:
        UserError: The model cannot process such an image.
    """
    return count(model, torch.zeros(1, 3, *shape), [unscaled_sample(shape)], mode='tensor')


def _limit_masks(roi_head: CascadeRoIHead) -> None:
    """Make a cascade compute masks for 100 regions only, like its inference and like ``forward`` of other heads."""
    forward = roi_head._mask_forward

    def limited(stage: int, x: tuple[Tensor, ...], rois: Tensor) -> dict:
        masks = forward(stage, x, rois[:100])['mask_preds']
        return dict(mask_preds=masks.new_zeros(len(rois), *masks.shape[1:]))

    roi_head._mask_forward = limited
