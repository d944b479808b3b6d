"""CSPResNet, the backbone that PP-YOLOE (arXiv 2203.16250) is published with."""
from collections import OrderedDict
from typing import Optional

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import nn

from ..econvnext import ESE
from ..levels import StagedBackbone, check_arch
from .layers import ACT, CSPLayer, RepBlock


@MODELS.register_module()
class PPYOLOECSPResNet(StagedBackbone):
    """PP-YOLOE's own backbone: residual RepVGG blocks in cross-stage partial stages with channel attention.

    Maps images (N, 3, H, W) to the outputs of its last three stages, at strides 8, 16 and 32. ``out_channels`` holds
    their channels: 256, 512, 1024 for L.

    Args:
        arch (str): The scale: 'S', 'M' or 'L', which are 0.33, 0.67 and 1 of the blocks (3, 6, 6, 3) and 0.5, 0.75
            and 1 of the channels (64, 128, 256, 512, 1024).
        deepen_factor (float): Scales the numbers of blocks further, rounded, at least 1. Defaults to 1.0.
        widen_factor (float): Scales the channels further, rounded. Defaults to 1.0.
        norm_cfg (dict): The norm. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): How to initialise. Defaults to None: mmcv's for convolutions with a norm.

    Raises:
        UserError: (a ValueError) An unknown scale.
    """

    arch_settings = dict(S=(0.33, 0.5), M=(0.67, 0.75), L=(1., 1.))  # of depth and of width

    def __init__(self, arch: str, deepen_factor: float = 1., widen_factor: float = 1.,
                 norm_cfg: dict = dict(type='BN'), init_cfg: Optional[dict] = None):
        super().__init__(init_cfg)
        check_arch(arch, tuple(self.arch_settings), 'PPYOLOECSPResNet')
        depth, width = self.arch_settings[arch]
        channels = [round(c * width * widen_factor) for c in (64, 128, 256, 512, 1024)]
        blocks = [max(round(n * depth * deepen_factor), 1) for n in (3, 6, 6, 3)]
        self.out_channels = tuple(channels[2:])
        layer = dict(padding=1, norm_cfg=norm_cfg, act_cfg=ACT)
        half = channels[0] // 2
        self.stem = nn.Sequential(
            ConvModule(3, half, 3, stride=2, **layer), ConvModule(half, half, 3, **layer),
            ConvModule(half, channels[0], 3, **layer))
        self.stages = nn.ModuleList()
        for i, number in enumerate(blocks):
            mid = (channels[i] + channels[i + 1]) // 2
            self.stages.append(nn.Sequential(OrderedDict(
                down=ConvModule(channels[i], mid, 3, stride=2, **layer),
                csp=CSPLayer(mid, mid, channels[i + 1],
                             {str(j): RepBlock(mid // 2, True, norm_cfg) for j in range(number)}, ESE(mid), norm_cfg))))
