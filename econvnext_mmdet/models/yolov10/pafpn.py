"""YOLOv10's neck."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..common.activation import ACT
from ..common.levels import check_arch, check_levels
from .layers import CIB, Bottleneck, C2f, SCDown


@MODELS.register_module()
class YOLOv10PAFPN(BaseModule):
    """YOLOv10's path aggregation network (arXiv 2405.14458).

    It maps the backbone's maps (N, C_i, H_i, W_i) at the strides 8, 16 and 32 to maps with the same channels and sizes.

    Args:
        in_channels: The channels of the backbone's maps, shallowest first. Each is even.
        arch: The scale, which decides which layers have compact inverted blocks. 'S': the last layer, with large
            kernels. 'M': both bottom-up layers. 'L': both bottom-up layers and the first top-down layer.
        num_blocks: The number of blocks in each layer. YOLOv10 uses 1, 2 or 3 for the scale S, M or L.
        norm_cfg: The norm. Defaults to ``dict(type='BN')``.
        init_cfg: The initialisation. Defaults to None: that of MMCV's ``ConvModule``.

    Raises:
        UserError: (a ValueError) The scale is unknown.
    """

    # Whether each layer has inverted blocks, in the order of the forward pass.
    arch_settings = dict(S=(False, False, False, True), M=(False, False, True, True), L=(True, False, True, True))

    def __init__(
        self,
        in_channels: Sequence[int],
        arch: str,
        num_blocks: int,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        check_arch(arch, tuple(self.arch_settings), 'YOLOv10PAFPN')
        self.in_channels = tuple(in_channels)
        inverted = partial(CIB, large_kernel=arch == 'S', norm_cfg=norm_cfg)
        plain = partial(Bottleneck, shortcut=False, norm_cfg=norm_cfg)
        c3, c4, c5 = in_channels
        layers = [
            C2f(channels, out_channels, num_blocks, inverted if with_cib else plain, norm_cfg)
            for (channels, out_channels), with_cib in zip(
                ((c5 + c4, c4), (c4 + c3, c3), (c3 + c4, c4), (c4 + c5, c5)), self.arch_settings[arch]
            )
        ]
        self.top_down = nn.ModuleList(layers[:2])
        self.bottom_up = nn.ModuleList(layers[2:])
        self.downsample = nn.ModuleList(
            [ConvModule(c3, c3, 3, stride=2, padding=1, norm_cfg=norm_cfg, act_cfg=ACT), SCDown(c4, c4, norm_cfg)]
        )

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's maps to the neck's maps, both shallowest first."""
        check_levels(feats, self.in_channels, 'neck')
        shallow, middle, deep = feats
        laterals = [deep]
        for feat, layer in zip((middle, shallow), self.top_down):
            laterals.append(layer(torch.cat((F.interpolate(laterals[-1], scale_factor=2.0), feat), dim=1)))
        outs = [laterals.pop()]
        for downsample, layer in zip(self.downsample, self.bottom_up):
            outs.append(layer(torch.cat((downsample(outs[-1]), laterals.pop()), dim=1)))
        return tuple(outs)
