"""Layers that PP-YOLOE's backbone and neck share."""
from collections import OrderedDict
from typing import Dict

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from ..reparam import RepConv

ACT = dict(type='SiLU', inplace=True)


class RepBlock(nn.Module):
    """A 3x3 convolution, then RepVGG's 3x3 and 1x1 side by side.

    Args:
        channels (int): Channels in and out.
        shortcut (bool): Add the input to the result.
        norm_cfg (dict): The norm.
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
    """Spatial pyramid pooling: maxima over windows of 5, 9 and 13 beside the input, then a 1x1 convolution."""

    def __init__(self, channels: int, norm_cfg: dict):
        super().__init__()
        self.pools = nn.ModuleList(nn.MaxPool2d(size, stride=1, padding=size // 2) for size in (5, 9, 13))
        self.conv = ConvModule(4 * channels, channels, 1, norm_cfg=norm_cfg, act_cfg=ACT)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))


class CSPLayer(nn.Module):
    """Half of the channels pass by the blocks (CSPNet, arXiv 1911.11929).

    Args:
        in_channels (int): Channels in.
        mid_channels (int): Channels of both halves together; even.
        out_channels (int): Channels out.
        blocks (dict[str, nn.Module]): The blocks by name, of ``mid_channels / 2``.
        attn (nn.Module): What the two halves pass when they are joined, an ``nn.Identity`` for nothing.
        norm_cfg (dict): The norm.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, blocks: Dict[str, nn.Module],
                 attn: nn.Module, norm_cfg: dict):
        super().__init__()
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)
        self.conv1 = ConvModule(in_channels, mid_channels // 2, 1, **layer)
        self.conv2 = ConvModule(in_channels, mid_channels // 2, 1, **layer)
        self.blocks = nn.Sequential(OrderedDict(blocks))
        self.attn = attn
        self.conv3 = ConvModule(mid_channels, out_channels, 1, **layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.attn(torch.cat((self.conv1(x), self.blocks(self.conv2(x))), dim=1)))
