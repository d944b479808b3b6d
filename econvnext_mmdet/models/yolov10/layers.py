"""Layers of YOLOv10's backbone and neck (arXiv 2405.14458)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from ..common.activation import ACT
from ..common.reparam import RepConv


class Bottleneck(nn.Module):
    """Two 3x3 convolutions. With ``shortcut``, the input is added to their result."""

    def __init__(self, channels: int, shortcut: bool, norm_cfg: dict):
        super().__init__()
        self.conv1 = ConvModule(channels, channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=ACT)
        self.conv2 = ConvModule(channels, channels, 3, padding=1, norm_cfg=norm_cfg, act_cfg=ACT)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return x + out if self.shortcut else out


class CIB(nn.Sequential):
    """Compact inverted block: depthwise 3x3, 1x1 to twice the channels, depthwise 3x3, 1x1 back, depthwise 3x3.

    The input is added to the result.

    Args:
        channels: The channels of the input and of the output.
        large_kernel: Whether the second depthwise convolution consists of parallel 7x7 and 3x3 convolutions. They are
            folded into one for inference.
        norm_cfg: The norm.
    """

    def __init__(self, channels: int, large_kernel: bool, norm_cfg: dict):
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)
        wide = 2 * channels
        super().__init__(
            ConvModule(channels, channels, 3, padding=1, groups=channels, **layer),
            ConvModule(channels, wide, 1, **layer),
            RepConv(wide, wide, (7, 3), groups=wide, norm_cfg=norm_cfg)
            if large_kernel
            else ConvModule(wide, wide, 3, padding=1, groups=wide, **layer),
            ConvModule(wide, channels, 1, **layer),
            ConvModule(channels, channels, 3, padding=1, groups=channels, **layer),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class C2f(nn.Module):
    """A cross-stage partial layer that joins the outputs of all blocks, not only of the last one.

    Args:
        in_channels: The channels of the input.
        out_channels: The number of channels of the output, which is even.
        num_blocks: The number of blocks.
        block: Builds a block with a given number of channels.
        norm_cfg: The norm.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, block: Callable[[int], nn.Module], norm_cfg: dict
    ):
        super().__init__()
        half = out_channels // 2
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)
        self.conv1 = ConvModule(in_channels, 2 * half, 1, **layer)
        self.conv2 = ConvModule((2 + num_blocks) * half, out_channels, 1, **layer)
        self.blocks = nn.ModuleList(block(half) for _ in range(num_blocks))

    def forward(self, x: Tensor) -> Tensor:
        outs: list[Tensor] = list(self.conv1(x).chunk(2, dim=1))
        for block in self.blocks:
            outs.append(block(outs[-1]))
        return self.conv2(torch.cat(outs, dim=1))


class SCDown(nn.Sequential):
    """Spatial-channel decoupled downsampling.

    It is a 1x1 convolution, then a depthwise 3x3 convolution with stride 2 and without activation.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_cfg: dict):
        super().__init__(
            ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=ACT),
            ConvModule(
                out_channels, out_channels, 3, stride=2, padding=1, groups=out_channels, norm_cfg=norm_cfg, act_cfg=None
            ),
        )


class Attention(nn.Module):
    """Self-attention between all positions. A depthwise convolution of the values encodes the position.

    Args:
        channels: The channels of the input and of the output. There is one head per 64 channels, and at least one.
            The queries and keys have half as many channels as the values.
        norm_cfg: The norm.
    """

    def __init__(self, channels: int, norm_cfg: dict):
        super().__init__()
        self.num_heads = max(channels // 64, 1)
        self.head_dim = channels // self.num_heads
        self.key_dim = self.head_dim // 2
        layer = dict(norm_cfg=norm_cfg, act_cfg=None)
        self.qkv = ConvModule(channels, channels + 2 * self.key_dim * self.num_heads, 1, **layer)
        self.position = ConvModule(channels, channels, 3, padding=1, groups=channels, **layer)
        self.out = ConvModule(channels, channels, 1, **layer)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        heads = self.qkv(x).reshape(n, self.num_heads, -1, h * w)  # queries, keys and values
        query, key, value = (
            part.transpose(2, 3) for part in heads.split([self.key_dim, self.key_dim, self.head_dim], dim=2)
        )  # each (N, heads, H * W, dim)
        out = F.scaled_dot_product_attention(query, key, value).transpose(2, 3).reshape(n, c, h, w)
        return self.out(out + self.position(value.transpose(2, 3).reshape(n, c, h, w)))


class PSA(nn.Module):
    """Partial self-attention: only half of the channels go through attention and a feed-forward network."""

    def __init__(self, channels: int, norm_cfg: dict):
        super().__init__()
        half = channels // 2
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)
        self.conv1 = ConvModule(channels, 2 * half, 1, **layer)
        self.conv2 = ConvModule(2 * half, channels, 1, **layer)
        self.attn = Attention(half, norm_cfg)
        self.ffn = nn.Sequential(
            ConvModule(half, 2 * half, 1, **layer), ConvModule(2 * half, half, 1, norm_cfg=norm_cfg, act_cfg=None)
        )

    def forward(self, x: Tensor) -> Tensor:
        skipped, out = self.conv1(x).chunk(2, dim=1)
        out = out + self.attn(out)
        out = out + self.ffn(out)
        return self.conv2(torch.cat((skipped, out), dim=1))
