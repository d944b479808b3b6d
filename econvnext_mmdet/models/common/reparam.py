"""Branches that are separate in training and folded into one convolution for inference (RepVGG, arXiv 2101.03697)."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


class RepConv(nn.Module):
    """Parallel convolutions, each followed by a norm. SiLU is applied to the sum of their outputs.

    Args:
        in_channels: The channels of the input.
        out_channels: The channels of the output.
        kernel_sizes: The kernel size of each branch. All are odd, and the largest comes first.
        groups: The groups of each convolution. Defaults to 1.
        norm_cfg: The norm. Only a BatchNorm can be folded. Defaults to ``dict(type='BN')``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: Sequence[int],
        groups: int = 1,
        norm_cfg: dict = dict(type='BN'),
    ):
        super().__init__()
        self.branches = nn.ModuleList(
            ConvModule(
                in_channels, out_channels, size, padding=size // 2, groups=groups, norm_cfg=norm_cfg, act_cfg=None
            )
            for size in kernel_sizes
        )
        self.folded: nn.Conv2d | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H, W)."""
        return F.silu(sum(branch(x) for branch in self.branches) if self.folded is None else self.folded(x))

    def switch_to_deploy(self) -> None:
        """Fold the branches into ``folded`` and delete them.

        Nothing happens if they are already folded, or if a norm is not a BatchNorm.
        """
        if self.folded is not None or not all(isinstance(branch.norm, _BatchNorm) for branch in self.branches):
            return
        self.eval()
        folded, *others = (_fold_norm(branch) for branch in self.branches)
        for conv in others:
            margin = (folded.kernel_size[0] - conv.kernel_size[0]) // 2
            folded.weight.data += F.pad(conv.weight.data, [margin] * 4)
            assert folded.bias is not None and conv.bias is not None  # folding a norm gives a bias
            folded.bias.data += conv.bias.data
        self.folded = folded
        del self.branches


def _fold_norm(branch: ConvModule) -> nn.Conv2d:
    """The convolution that is equal to a convolution followed by its BatchNorm in evaluation."""
    return fuse_conv_bn_eval(branch.conv, branch.norm)
