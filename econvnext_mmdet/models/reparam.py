"""Branches that train apart and are folded into one convolution for inference (RepVGG, arXiv 2101.03697)."""
from typing import Optional, Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


class RepConv(nn.Module):
    """Parallel convolutions of one input, each with a BatchNorm, added up and passed through SiLU.

    Args:
        in_channels (int): Channels in.
        out_channels (int): Channels out.
        kernel_sizes (Sequence[int]): The odd kernel of each branch, the largest first.
        groups (int): Groups of each convolution. Defaults to 1.
        norm_cfg (dict): The norm; only a BatchNorm can be folded. Defaults to ``dict(type='BN')``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_sizes: Sequence[int], groups: int = 1,
                 norm_cfg: dict = dict(type='BN')):
        super().__init__()
        self.branches = nn.ModuleList(
            ConvModule(in_channels, out_channels, size, padding=size // 2, groups=groups, norm_cfg=norm_cfg,
                       act_cfg=None) for size in kernel_sizes)
        self.folded: Optional[nn.Conv2d] = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        return F.silu(sum(branch(x) for branch in self.branches) if self.folded is None else self.folded(x))

    def switch_to_deploy(self) -> None:
        """Fold the branches, whose parameters are gone then; nothing to do the second time, or with another norm."""
        if self.folded is not None or not all(isinstance(branch.norm, _BatchNorm) for branch in self.branches):
            return
        self.eval()
        folded, *others = (fuse_conv_bn_eval(branch.conv, branch.norm) for branch in self.branches)
        for conv in others:
            margin = (folded.kernel_size[0] - conv.kernel_size[0]) // 2
            folded.weight.data += F.pad(conv.weight.data, [margin] * 4)
            folded.bias.data += conv.bias.data
        self.folded = folded
        del self.branches


def fold_branches(model: nn.Module) -> nn.Module:
    """Make of a trained model what inference needs: the same outputs from fewer operations.

    Every module with a method ``switch_to_deploy`` has it called: parallel convolutions are folded into one, and a
    branch that only training uses is dropped.

    Args:
        model (nn.Module): The model, which is changed, and left in evaluation mode: it is no model to train
            or to load a checkpoint into any more.

    Returns:
        nn.Module: The model.
    """
    for module in list(model.eval().modules()):
        if hasattr(module, 'switch_to_deploy'):
            module.switch_to_deploy()
    return model
