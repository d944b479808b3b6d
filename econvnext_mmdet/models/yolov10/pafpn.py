"""YOLOv10's neck."""
from functools import partial
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..levels import check_arch, check_levels
from .layers import ACT, CIB, Bottleneck, C2f, SCDown


@MODELS.register_module()
class YOLOv10PAFPN(BaseModule):
    """YOLOv10's path aggregation network (arXiv 2405.14458).

    Maps the backbone's maps at strides 8, 16 and 32, (N, C_i, H_i, W_i), to maps of the same channels and sizes.

    Args:
        in_channels (Sequence[int]): The channels of the backbone's maps, shallowest first, each even.
        arch (str): The scale, which says where compact inverted blocks are: 'S' in the last layer, with large
            kernels; 'M' in both bottom-up layers; 'L' in those and in the first top-down layer.
        num_blocks (int): Blocks of each layer. In YOLOv10 1, 2, 3 for S, M, L.
        norm_cfg (dict): The norm. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): How to initialise. Defaults to None: mmcv's for convolutions with a norm.

    Raises:
        UserError: (a ValueError) An unknown scale.
    """

    # Which layers have inverted blocks, in the order of the forward pass.
    arch_settings = dict(S=(False, False, False, True), M=(False, False, True, True), L=(True, False, True, True))

    def __init__(self, in_channels: Sequence[int], arch: str, num_blocks: int, norm_cfg: dict = dict(type='BN'),
                 init_cfg: Optional[dict] = None):
        super().__init__(init_cfg)
        check_arch(arch, tuple(self.arch_settings), 'YOLOv10PAFPN')
        self.in_channels = tuple(in_channels)
        inverted = partial(CIB, large_kernel=arch == 'S', norm_cfg=norm_cfg)
        plain = partial(Bottleneck, shortcut=False, norm_cfg=norm_cfg)
        c3, c4, c5 = in_channels
        layers = [
            C2f(channels, out_channels, num_blocks, inverted if with_cib else plain, norm_cfg)
            for (channels, out_channels), with_cib in zip(
                ((c5 + c4, c4), (c4 + c3, c3), (c3 + c4, c4), (c4 + c5, c5)), self.arch_settings[arch])]
        self.top_down = nn.ModuleList(layers[:2])
        self.bottom_up = nn.ModuleList(layers[2:])
        self.downsample = nn.ModuleList([
            ConvModule(c3, c3, 3, stride=2, padding=1, norm_cfg=norm_cfg, act_cfg=ACT), SCDown(c4, c4, norm_cfg)])

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Map the backbone's maps to as many, shallowest first."""
        check_levels(feats, self.in_channels, 'neck')
        shallow, middle, deep = feats
        laterals = [deep]
        for feat, layer in zip((middle, shallow), self.top_down):
            laterals.append(layer(torch.cat((F.interpolate(laterals[-1], scale_factor=2.), feat), dim=1)))
        outs = [laterals.pop()]
        for downsample, layer in zip(self.downsample, self.bottom_up):
            outs.append(layer(torch.cat((downsample(outs[-1]), laterals.pop()), dim=1)))
        return tuple(outs)
