"""CSPDarknet, the original backbone of YOLOv10 (arXiv 2405.14458)."""

from functools import partial

from mmcv.cnn import ConvModule
from mmdet.models.backbones.csp_darknet import SPPBottleneck
from mmdet.registry import MODELS
from torch import nn

from ...utils.model import scale
from ..common.activation import ACT
from ..common.levels import StagedBackbone, check_arch
from .layers import CIB, PSA, Bottleneck, C2f, SCDown


@MODELS.register_module()
class YOLOv10CSPDarknet(StagedBackbone):
    """The original backbone of YOLOv10: C2f layers, the last with compact inverted blocks, and partial self-attention.

    It maps images (N, 3, H, W) to the outputs of its last three stages, at the strides 8, 16 and 32. ``out_channels``
    holds their channels, which are 256, 512 and 512 for the scale L.

    Args:
        arch: The scale: 'S', 'M' or 'L'. It multiplies the numbers of blocks (3, 6, 6, 3) by 0.33, 0.67 or 1. It limits
            the channels (64, 128, 256, 512, 1024) to 1024, 768 or 512, and multiplies them by 0.5, 0.75 or 1. The
            scale S has 7x7 kernels in its inverted blocks.
        deepen_factor: Another factor for the numbers of blocks. The results are rounded, and are at least 1. Defaults
            to 1.0.
        widen_factor: Another factor for the channels. The results are truncated. Defaults to 1.0.
        norm_cfg: The norm. Defaults to ``dict(type='BN')``.
        init_cfg: The initialisation. Defaults to None: that of MMCV's ``ConvModule``.

    Raises:
        UserError: (a ValueError) The scale is unknown, a factor is not positive, or a stage would have more than 1000
            blocks or 16384 channels.
    """

    # The factors for blocks and channels, the limit of the channels, and whether inverted blocks have large kernels.
    arch_settings = dict(S=(0.33, 0.5, 1024, True), M=(0.67, 0.75, 768, False), L=(1.0, 1.0, 512, False))

    def __init__(
        self,
        arch: str,
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        check_arch(arch, tuple(self.arch_settings), 'YOLOv10CSPDarknet')
        depth, width, most, large_kernel = self.arch_settings[arch]
        widths = [min(c, most) * width for c in (64, 128, 256, 512, 1024)]
        channels = [int(c) for c in scale(widths, 'widen_factor', widen_factor)]
        depths = scale([n * depth for n in (3, 6, 6, 3)], 'deepen_factor', deepen_factor)
        blocks = [max(round(n), 1) for n in depths]
        self.out_channels = tuple(channels[2:])
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)
        self.stem = ConvModule(3, channels[0], 3, stride=2, padding=1, **layer)
        self.stages = nn.ModuleList()
        for i, (in_channels, out_channels, number) in enumerate(zip(channels, channels[1:], blocks)):
            down = (
                SCDown(in_channels, out_channels, norm_cfg)
                if i >= 2
                else ConvModule(in_channels, out_channels, 3, stride=2, padding=1, **layer)
            )
            block = (
                partial(CIB, large_kernel=large_kernel, norm_cfg=norm_cfg)
                if i == 3
                else partial(Bottleneck, shortcut=True, norm_cfg=norm_cfg)
            )
            stage = [down, C2f(out_channels, out_channels, number, block, norm_cfg)]
            if i == 3:
                stage += [SPPBottleneck(out_channels, out_channels, **layer), PSA(out_channels, norm_cfg)]
            self.stages.append(nn.Sequential(*stage))
