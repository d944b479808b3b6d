"""Preparing a trained model for inference: the same outputs from fewer operations."""

from collections import Counter
from copy import deepcopy
from typing import Any, cast

import torch
from mmcv.cnn import fuse_conv_bn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..utils.errors import UserError
from ..weights.checkpoint import FUSED_MARK
from .econvnext import EConvNeXt


class FusedMark(nn.Identity):
    """A part of every fused model. It refuses to be trained, and its buffer marks the model's checkpoints as fused."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('mark', torch.zeros(()))

    def train(self, mode: bool = True) -> 'FusedMark':
        """Stay in evaluation mode.

        Raises:
            UserError: The model is to be trained.
        """
        if mode:
            raise UserError(
                'this model is fused for inference: its BatchNorms are folded into its convolutions, so it cannot be '
                'trained. Train the model of the config and its checkpoint, and fuse the result.'
            )
        return super().train(mode)


def fuse(model: nn.Module) -> nn.Module:
    """Fold a trained model for inference. The outputs stay the same, up to rounding.

    - Parallel convolutions become one, and branches that only training uses are deleted: the method
      ``switch_to_deploy`` of each module that has one.
    - Each BatchNorm that follows a convolution is folded into it.
    - The BatchNorm of a backbone's output is folded into the lateral convolution of an FPN, if nothing else reads this
      output. A convolution with padding cannot take a norm that comes before it, because the padding is not
      normalised.

    Args:
        model: A detector, a classifier or any part of one. It is changed in place and left in evaluation mode. After
            this, it can neither be trained nor load the checkpoint of its config.

    Returns:
        The same model.
    """
    for module in list(model.eval().modules()):
        switch_to_deploy = getattr(module, 'switch_to_deploy', None)
        if switch_to_deploy is not None:
            switch_to_deploy()
    _separate_shared(model)
    fuse_conv_bn(model)
    _fold_output_norms(model)
    model.add_module(FUSED_MARK, FusedMark())
    return model.eval()


def _separate_shared(model: nn.Module) -> None:
    """Give each place its own copy of a convolution that several places share, because their norms differ."""
    places = [(parent, name, child) for parent in model.modules() for name, child in parent.named_children()]
    uses = Counter(id(child) for _, _, child in places)
    for parent, name, child in places:
        if isinstance(child, nn.Conv2d) and uses[id(child)] > 1:
            setattr(parent, name, deepcopy(child))


def _fold_output_norms(model: nn.Module) -> None:
    """Fold the output norms of an EConvNeXt into the lateral convolutions of an FPN.

    For a 1x1 convolution W of a normalised map, W (s * x + t) + b = (W s) x + (W t + b).
    """
    backbone, neck = getattr(model, 'backbone', None), cast(Any, getattr(model, 'neck', None))
    # A subclass of FPN may read the maps elsewhere too. The class is not imported, because a classifier must work
    # without MMDetection.
    if not isinstance(backbone, EConvNeXt) or type(neck).__name__ != 'FPN':
        return
    for lateral, index in zip(neck.lateral_convs, backbone.out_indices[neck.start_level :]):
        norm, conv = getattr(backbone, f'norm{index}', None), lateral.conv
        last = index == backbone.out_indices[neck.backbone_end_level - 1]
        read_twice = last and neck.add_extra_convs == 'on_input' and neck.num_outs > len(neck.lateral_convs)
        if not isinstance(norm, _BatchNorm) or read_twice:
            continue
        norm = cast(Any, norm)  # its tensors are optional, but no config of ours leaves them out
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        bias = conv.bias if conv.bias is not None else torch.zeros_like(conv.weight[:, 0, 0, 0])
        conv.bias = nn.Parameter((bias + conv.weight[:, :, 0, 0] @ shift).detach())
        conv.weight = nn.Parameter((conv.weight * scale[:, None, None]).detach())
        setattr(backbone, f'norm{index}', nn.Identity())
