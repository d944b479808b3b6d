"""Layer-wise learning-rate decay for detectors."""
from typing import List, Optional, Tuple

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..errors import UserError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor with rates that rise from the stem to the head (arXiv 2106.08254).

    A parameter's rate is multiplied by ``layer_decay_rate ** (num_layers - 1 - layer)``: 1 for the neck and
    the heads. The layer comes from the ``get_layer_depth`` of the model or of the backbone in it, so any
    backbone that has one will do. All of ``paramwise_cfg`` that mmengine knows works as there.

    mmdet's constructor takes every backbone with 'ConvNeXt' in the name of its class for ConvNeXt, and
    mmpretrain's wants ``get_layer_depth`` on the whole model, which detectors lack.

    Args:
        optim_wrapper_cfg (dict): The optimiser wrapper, with ``optimizer`` in it.
        paramwise_cfg (dict): mmengine's, and ``layer_decay_rate`` (float in (0, 1]).

    Raises:
        UserError: No rate, or no part of the model has ``get_layer_depth``.

    Example:
        >>> optim_wrapper = dict(
        ...     constructor='LayerDecayOptimWrapperConstructor',
        ...     optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        ...     paramwise_cfg=dict(layer_decay_rate=0.8, norm_decay_mult=0., bias_decay_mult=0.))
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: Optional[dict] = None):
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            raise UserError('LayerDecayOptimWrapperConstructor needs paramwise_cfg.layer_decay_rate in (0, 1]; '
                            f'got {rate!r}.')

    def add_params(self, params: List[dict], module: nn.Module, prefix: str = '', **kwargs) -> None:
        """Append a group for each trainable parameter of ``module`` to ``params``."""
        super().add_params(params, module, prefix, **kwargs)
        if prefix:  # a submodule: the layers are counted once, over the whole model
            return
        backbone, backbone_prefix = self._find_backbone(module)
        names = {id(param): name for name, param in module.named_parameters()}
        for group in params:
            layer, num_layers = backbone.get_layer_depth(names[id(group['params'][0])], backbone_prefix)
            scale = self.paramwise_cfg['layer_decay_rate']**(num_layers - 1 - layer)
            group['lr'] = group.get('lr', self.base_lr) * scale
        print_log(f'layer-wise decay over {num_layers} layers: rates from {min(g["lr"] for g in params):.3g} '
                  f'to {max(g["lr"] for g in params):.3g}', logger='current')

    @staticmethod
    def _find_backbone(model: nn.Module) -> Tuple[nn.Module, str]:
        """The backbone with ``get_layer_depth`` in a model, and what stands before its parameters' names."""
        backbone = getattr(model, 'backbone', model)
        if not hasattr(backbone, 'get_layer_depth'):
            raise UserError(f'layer-wise decay needs a backbone with get_layer_depth, as EConvNeXt; the '
                            f'{type(backbone).__name__} of this {type(model).__name__} has none.')
        return backbone, '' if backbone is model else 'backbone.'
