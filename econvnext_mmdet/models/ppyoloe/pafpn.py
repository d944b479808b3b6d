"""PP-YOLOE's neck."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..common.activation import ACT
from ..common.levels import check_levels
from .layers import SPP, CSPLayer, RepBlock


@MODELS.register_module()
class PPYOLOEPAFPN(BaseModule):
    """PP-YOLOE's path aggregation network of cross-stage partial layers with RepVGG blocks (arXiv 2203.16250).

    It maps the backbone's maps (N, C_i, H_i, W_i) at the strides 8, 16 and 32 to maps with ``out_channels`` and the
    same sizes. The first path goes from the deepest level to the shallowest, and the second goes back. The deepest
    layer of the first path has spatial pyramid pooling.

    Args:
        in_channels: The channels of the backbone's maps, shallowest first.
        out_channels: The channels of the neck's maps, shallowest first. Each is even. PP-YOLOE uses (192, 384, 768)
            times 0.5, 0.75 or 1 for the scale S, M or L.
        num_blocks: The number of blocks in each layer. PP-YOLOE uses 1, 2 or 3 for the scale S, M or L.
        norm_cfg: The norm. Defaults to ``dict(type='BN')``.
        init_cfg: The initialisation. Defaults to None: that of MMCV's ``ConvModule``.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: Sequence[int],
        num_blocks: int,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)

        def csp(channels: int, out: int, spp: bool = False) -> CSPLayer:
            blocks: dict[str, nn.Module] = {}
            for i in range(num_blocks):
                blocks[str(i)] = RepBlock(out // 2, False, norm_cfg)
                if spp and i == (num_blocks - 1) // 2:
                    blocks['spp'] = SPP(out // 2, norm_cfg)
            return CSPLayer(channels, out, out, blocks, nn.Identity(), norm_cfg)

        c3, c4, c5 = in_channels
        o3, o4, o5 = out_channels
        # Deepest first.
        self.top_down = nn.ModuleList([csp(c5, o5, spp=True), csp(c4 + o5 // 2, o4), csp(c3 + o4 // 2, o3)])
        self.reduce = nn.ModuleList([ConvModule(o5, o5 // 2, 1, **layer), ConvModule(o4, o4 // 2, 1, **layer)])
        # Shallowest first.
        self.downsample = nn.ModuleList(ConvModule(out, out, 3, stride=2, padding=1, **layer) for out in (o3, o4))
        self.bottom_up = nn.ModuleList([csp(o3 + o4, o4), csp(o4 + o5, o5)])

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Map the backbone's maps to the neck's maps, both shallowest first."""
        check_levels(feats, self.in_channels, 'neck')
        feats = feats[::-1]
        laterals = [self.top_down[0](feats[0])]
        for feat, reduce, layer in zip(feats[1:], self.reduce, self.top_down[1:]):
            above = F.interpolate(reduce(laterals[-1]), scale_factor=2.0)
            laterals.append(layer(torch.cat((above, feat), dim=1)))
        outs = [laterals.pop()]
        for downsample, layer in zip(self.downsample, self.bottom_up):
            outs.append(layer(torch.cat((downsample(outs[-1]), laterals.pop()), dim=1)))
        return tuple(outs)
