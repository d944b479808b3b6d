"""The backbone that YOLOv10 (arXiv 2405.14458) is published with."""
from functools import partial
from typing import Optional

from mmcv.cnn import ConvModule
from mmdet.models.backbones.csp_darknet import SPPBottleneck
from mmdet.registry import MODELS
from torch import nn

from ..levels import StagedBackbone, check_arch
from .layers import ACT, CIB, PSA, Bottleneck, C2f, SCDown


@MODELS.register_module()
class YOLOv10CSPDarknet(StagedBackbone):
    """YOLOv10's own backbone: C2f layers, compact inverted blocks in the last of them, and partial self-attention.

    Maps images (N, 3, H, W) to the outputs of its last three stages, at strides 8, 16 and 32. ``out_channels`` holds
    their channels: 256, 512, 512 for L.

    Args:
        arch (str): The scale: 'S', 'M' or 'L', which are 0.33, 0.67 and 1 of the blocks (3, 6, 6, 3), and 0.5, 0.75
            and 1 of the channels (64, 128, 256, 512, 1024), of which M has 768 at most, and L 512. S has kernels of
            7x7 in its inverted blocks.
        deepen_factor (float): Scales the numbers of blocks further, rounded, at least 1. Defaults to 1.0.
        widen_factor (float): Scales the channels further, truncated. Defaults to 1.0.
        norm_cfg (dict): The norm. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): How to initialise. Defaults to None: mmcv's for convolutions with a norm.

    Raises:
        UserError: (a ValueError) An unknown scale.
    """

    # Depth, width, the most channels before the width, whether kernels are large.
    arch_settings = dict(S=(0.33, 0.5, 1024, True), M=(0.67, 0.75, 768, False), L=(1., 1., 512, False))

    def __init__(self, arch: str, deepen_factor: float = 1., widen_factor: float = 1.,
                 norm_cfg: dict = dict(type='BN'), init_cfg: Optional[dict] = None):
        super().__init__(init_cfg)
        check_arch(arch, tuple(self.arch_settings), 'YOLOv10CSPDarknet')
        depth, width, most, large_kernel = self.arch_settings[arch]
        channels = [int(min(c, most) * width * widen_factor) for c in (64, 128, 256, 512, 1024)]
        blocks = [max(round(n * depth * deepen_factor), 1) for n in (3, 6, 6, 3)]
        self.out_channels = tuple(channels[2:])
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)
        self.stem = ConvModule(3, channels[0], 3, stride=2, padding=1, **layer)
        self.stages = nn.ModuleList()
        for i, (in_channels, out_channels, number) in enumerate(zip(channels, channels[1:], blocks)):
            down = SCDown(in_channels, out_channels, norm_cfg) if i >= 2 else ConvModule(
                in_channels, out_channels, 3, stride=2, padding=1, **layer)
            block = partial(CIB, large_kernel=large_kernel, norm_cfg=norm_cfg) if i == 3 else partial(
                Bottleneck, shortcut=True, norm_cfg=norm_cfg)
            stage = [down, C2f(out_channels, out_channels, number, block, norm_cfg)]
            if i == 3:
                stage += [SPPBottleneck(out_channels, out_channels, **layer), PSA(out_channels, norm_cfg)]
            self.stages.append(nn.Sequential(*stage))
