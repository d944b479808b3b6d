"""Layers of PP-YOLOE's backbone and neck."""

from collections import OrderedDict

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from ..common.activation import ACT
from ..common.reparam import RepConv


class RepBlock(nn.Module):
    """A 3x3 convolution, then parallel 3x3 and 1x1 convolutions as in RepVGG (arXiv 2101.03697).

    Args:
        channels: The channels of the input and of the output.
        shortcut: Whether to add the input to the result.
        norm_cfg: The norm.
    """

    def __init__(self, channels: int, shortcut: bool, norm_cfg: dict):
        super().__init__()
        self.conv1 = ConvModule(channels, channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=ACT)
        self.conv2 = RepConv(channels, channels, (3, 1), norm_cfg=norm_cfg)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return x + out if self.shortcut else out


class SPP(nn.Module):
    """Spatial pyramid pooling: a 1x1 convolution joins the input with its maxima over 5x5, 9x9 and 13x13 windows."""

    def __init__(self, channels: int, norm_cfg: dict):
        super().__init__()
        self.pools = nn.ModuleList(nn.MaxPool2d(size, stride=1, padding=size // 2) for size in (5, 9, 13))
        self.conv = ConvModule(4 * channels, channels, 1, norm_cfg=norm_cfg, act_cfg=ACT)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))


class CSPLayer(nn.Module):
    """A cross-stage partial layer (CSPNet, arXiv 1911.11929): only half of the channels go through the blocks.

    Args:
        in_channels: The channels of the input.
        mid_channels: The number of channels of both halves together, which is even.
        out_channels: The channels of the output.
        blocks: The blocks by name. Each has ``mid_channels / 2`` channels.
        attn: The attention for the joined halves, or an ``nn.Identity``.
        norm_cfg: The norm.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        blocks: dict[str, nn.Module],
        attn: nn.Module,
        norm_cfg: dict,
    ):
        super().__init__()
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)
        self.conv1 = ConvModule(in_channels, mid_channels // 2, 1, **layer)
        self.conv2 = ConvModule(in_channels, mid_channels // 2, 1, **layer)
        self.blocks = nn.Sequential(OrderedDict(blocks))
        self.attn = attn
        self.conv3 = ConvModule(mid_channels, out_channels, 1, **layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.attn(torch.cat((self.conv1(x), self.blocks(self.conv2(x))), dim=1)))
