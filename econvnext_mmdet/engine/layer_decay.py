"""Layer-wise learning-rate decay for detectors."""

from collections.abc import Callable
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..utils.errors import UserError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor with learning rates that rise from the stem to the head (arXiv 2106.08254).

    The rate of a parameter is multiplied by ``layer_decay_rate ** (num_layers - 1 - layer)``. For the neck and the
    heads this factor is 1. ``get_layer_depth`` of the model or of its backbone gives the layer, so any backbone with
    this method can be used. All other settings in ``paramwise_cfg`` work as in MMEngine.

    MMDetection's constructor treats every backbone with 'ConvNeXt' in its class name as ConvNeXt, so it is wrong for
    EConvNeXt. MMPretrain's constructor needs ``get_layer_depth`` on the whole model, which detectors do not have.

    Args:
        optim_wrapper_cfg: The config of the optimiser wrapper, including ``optimizer``.
        paramwise_cfg: MMEngine's settings, and ``layer_decay_rate``, a number in (0, 1].

    Raises:
        UserError: The rate is missing or out of range, or the model has no ``get_layer_depth``.

    Example:
        >>> optim_wrapper = dict(
        ...     constructor='LayerDecayOptimWrapperConstructor',
        ...     optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        ...     paramwise_cfg=dict(layer_decay_rate=0.8, norm_decay_mult=0., bias_decay_mult=0.))
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise UserError(
                f'LayerDecayOptimWrapperConstructor needs paramwise_cfg.layer_decay_rate in (0, 1]; got {rate!r}'
            )

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any) -> None:
        """Append a group for each trainable parameter of ``module`` to ``params``."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # a submodule; the layers are counted once, for the whole model
            return
        get_layer_depth, backbone_prefix = self._find_layer_depth(module)
        names = {id(param): name for name, param in module.named_parameters()}
        for group in params:
            layer, num_layers = get_layer_depth(names[id(group['params'][0])], backbone_prefix)
            scale = self.paramwise_cfg['layer_decay_rate'] ** (num_layers - 1 - layer)
            group['lr'] = group.get('lr', self.base_lr) * scale
        print_log(
            f'layer-wise decay over {num_layers} layers: learning rates from {min(g["lr"] for g in params):.3g} '
            f'to {max(g["lr"] for g in params):.3g}',
            logger='current',
        )

    @staticmethod
    def _find_layer_depth(model: nn.Module) -> tuple[Callable[[str, str], tuple[int, int]], str]:
        """``get_layer_depth`` of the backbone, and the prefix of the backbone's parameters in the model."""
        backbone = getattr(model, 'backbone', model)
        get_layer_depth = getattr(backbone, 'get_layer_depth', None)
        if not callable(get_layer_depth):
            raise UserError(
                'layer-wise decay needs a backbone with get_layer_depth, such as EConvNeXt; the '
                f'{type(backbone).__name__} of this {type(model).__name__} does not have it'
            )
        return get_layer_depth, '' if backbone is model else 'backbone.'
