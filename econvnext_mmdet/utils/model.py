"""Building a config's model, and helpers for working with models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel, BaseTTAModel, is_model_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from .config import explain_user_errors
from .errors import UserError
from .operators import has_operators

# Far above any network that was published; a larger one would take hours or all memory to build.
MOST = dict(widen_factor=(2**14, 'channels'), deepen_factor=(1000, 'blocks'))
# The backbone and the hooks work without MMCV and MMDetection, so the functions that need these import them.
if TYPE_CHECKING:
    from mmdet.structures import DetDataSample


def build_model(cfg: Config) -> BaseModel:
    """Build the model of a config. Its weights come from the constructors. ``init_weights`` is not called.

    Args:
        cfg: The whole config.

    Raises:
        UserError: The config has no model, names a type that is not registered, or gives a type an argument that it
            does not have.
    """
    model = cfg.get('model')
    if not isinstance(model, dict) or 'type' not in model:
        raise UserError(
            f'expected a config with a model, which is a dict with a type; got {model!r}. Set model, or inherit from a '
            'config that has one with _base_.'
        )
    scope = cfg.get('default_scope') or 'mmdet'
    if not isinstance(scope, str):
        raise UserError(f'default_scope must be a text, such as mmdet; got {scope!r}')
    init_default_scope(scope)
    # MMEngine's runner does the same: the model uses the preprocessor at the top of the config, unless it has its own.
    defaults = {key: cfg[key] for key in ('data_preprocessor',) if cfg.get(key)}
    with explain_user_errors():
        return MODELS.build(cfg.model, default_args=defaults)


def scale(numbers: Sequence[float], name: str, factor: float) -> list[float]:
    """Multiply the widths or the depths of a network by a factor.

    Args:
        numbers: The channels or the numbers of blocks.
        name: The setting that has the factor: 'widen_factor' or 'deepen_factor'.
        factor: The factor.

    Raises:
        UserError: The factor is not positive, or a result is larger than :data:`MOST`.
    """
    if not factor > 0:
        raise UserError(f'{name} must be positive; got {factor!r}')
    scaled = [number * factor for number in numbers]
    most, what = MOST[name]
    if max(scaled) > most:
        raise UserError(f'{name}={factor!r} is too large: a stage would have more than {most} {what}')
    return scaled


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of distributed training and of test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.get_submodule('module')
    return model


def number_of_classes(model: nn.Module) -> int | None:
    """The number of classes of a detector's or a classifier's head, or None if the model has no such head."""
    heads = dict(model.named_modules())
    head = next((heads[name] for name in ('bbox_head', 'head', 'roi_head.bbox_head') if name in heads), None)
    last: Any = head[-1] if isinstance(head, nn.ModuleList) else head
    return getattr(last, 'num_classes', None)


def prefer_channels_last(model: nn.Module) -> None:
    """Let a model compute with the channels of a pixel side by side, which is faster on a CPU, if it can.

    MMCV's operators, such as RoIAlign, ignore the memory layout of their input: they would read wrong features without
    an error. A model with one of them is left as it is.
    """
    if not any(type(module).__module__.startswith('mmcv.ops') for module in model.modules()):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def unscaled_sample(shape: tuple[int, int]) -> DetDataSample:
    """The metadata that a detector needs for an image that is neither resized nor padded.

    Args:
        shape: Height and width of the image in pixels.
    """
    from mmdet.structures import DetDataSample

    return DetDataSample(
        metainfo=dict(
            img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0)
        )
    )


def has_cuda_operators() -> bool:
    """Whether MMCV's operators were compiled for the GPU. Without them, a detector cannot run on the GPU."""
    from mmcv.ops import get_compiling_cuda_version

    return has_operators() and get_compiling_cuda_version() != 'not available'
