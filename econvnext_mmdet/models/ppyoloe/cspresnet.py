"""CSPResNet, the original backbone of PP-YOLOE (arXiv 2203.16250)."""

from collections import OrderedDict

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import nn

from ...utils.model import scale
from ..common.activation import ACT
from ..common.levels import StagedBackbone, check_arch
from ..econvnext import ESE
from .layers import CSPLayer, RepBlock


@MODELS.register_module()
class PPYOLOECSPResNet(StagedBackbone):
    """The original backbone of PP-YOLOE: residual RepVGG blocks in cross-stage partial stages with channel attention.

    It maps images (N, 3, H, W) to the outputs of its last three stages, at the strides 8, 16 and 32. ``out_channels``
    holds their channels, which are 256, 512 and 1024 for the scale L.

    Args:
        arch: The scale: 'S', 'M' or 'L'. It multiplies the numbers of blocks (3, 6, 6, 3) by 0.33, 0.67 or 1, and the
            channels (64, 128, 256, 512, 1024) by 0.5, 0.75 or 1.
        deepen_factor: Another factor for the numbers of blocks. The results are rounded, and are at least 1. Defaults
            to 1.0.
        widen_factor: Another factor for the channels. The results are rounded. Defaults to 1.0.
        norm_cfg: The norm. Defaults to ``dict(type='BN')``.
        init_cfg: The initialisation. Defaults to None: that of MMCV's ``ConvModule``.

    Raises:
        UserError: (a ValueError) The scale is unknown, a factor is not positive, or a stage would have more than 1000
            blocks or 16384 channels.
    """

    arch_settings = dict(S=(0.33, 0.5), M=(0.67, 0.75), L=(1.0, 1.0))  # the factors for blocks and channels

    def __init__(
        self,
        arch: str,
        deepen_factor: float = 1.0,
        widen_factor: float = 1.0,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        check_arch(arch, tuple(self.arch_settings), 'PPYOLOECSPResNet')
        depth, width = self.arch_settings[arch]
        widths = [c * width for c in (64, 128, 256, 512, 1024)]
        channels = [round(c) for c in scale(widths, 'widen_factor', widen_factor)]
        depths = scale([n * depth for n in (3, 6, 6, 3)], 'deepen_factor', deepen_factor)
        blocks = [max(round(n), 1) for n in depths]
        self.out_channels = tuple(channels[2:])
        layer = dict(padding=1, norm_cfg=norm_cfg, act_cfg=ACT)
        half = channels[0] // 2
        self.stem = nn.Sequential(
            ConvModule(3, half, 3, stride=2, **layer),
            ConvModule(half, half, 3, **layer),
            ConvModule(half, channels[0], 3, **layer),
        )
        self.stages = nn.ModuleList()
        for i, number in enumerate(blocks):
            mid = (channels[i] + channels[i + 1]) // 2
            self.stages.append(
                nn.Sequential(
                    OrderedDict(
                        down=ConvModule(channels[i], mid, 3, stride=2, **layer),
                        csp=CSPLayer(
                            mid,
                            mid,
                            channels[i + 1],
                            {str(j): RepBlock(mid // 2, True, norm_cfg) for j in range(number)},
                            ESE(mid),
                            norm_cfg,
                        ),
                    )
                )
            )
