"""PP-YOLOE's neck."""
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..levels import check_levels
from .layers import ACT, SPP, CSPLayer, RepBlock


@MODELS.register_module()
class PPYOLOEPAFPN(BaseModule):
    """PP-YOLOE's path aggregation network of cross-stage partial layers with RepVGG blocks (arXiv 2203.16250).

    Maps the backbone's maps at strides 8, 16 and 32, (N, C_i, H_i, W_i), to maps of ``out_channels`` of the same
    sizes. First it goes from the deepest to the shallowest, then back; the deepest layer has spatial pyramid pooling.

    Args:
        in_channels (Sequence[int]): The channels of the backbone's maps, shallowest first.
        out_channels (Sequence[int]): The channels of its own, each even. In PP-YOLOE (192, 384, 768) times the
            width of the scale: 0.5, 0.75, 1 for S, M, L.
        num_blocks (int): Blocks of each layer. In PP-YOLOE 1, 2, 3 for S, M, L.
        norm_cfg (dict): The norm. Defaults to ``dict(type='BN')``.
        init_cfg (dict, optional): How to initialise. Defaults to None: mmcv's for convolutions with a norm.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int], num_blocks: int,
                 norm_cfg: dict = dict(type='BN'), init_cfg: Optional[dict] = None):
        super().__init__(init_cfg)
        self.in_channels = tuple(in_channels)
        layer = dict(norm_cfg=norm_cfg, act_cfg=ACT)

        def csp(channels: int, out: int, spp: bool = False) -> CSPLayer:
            blocks = {}
            for i in range(num_blocks):
                blocks[str(i)] = RepBlock(out // 2, False, norm_cfg)
                if spp and i == (num_blocks - 1) // 2:
                    blocks['spp'] = SPP(out // 2, norm_cfg)
            return CSPLayer(channels, out, out, blocks, nn.Identity(), norm_cfg)

        c3, c4, c5 = in_channels
        o3, o4, o5 = out_channels
        # Each from the deepest on.
        self.top_down = nn.ModuleList([csp(c5, o5, spp=True), csp(c4 + o5 // 2, o4), csp(c3 + o4 // 2, o3)])
        self.reduce = nn.ModuleList([ConvModule(o5, o5 // 2, 1, **layer), ConvModule(o4, o4 // 2, 1, **layer)])
        # And each from the shallowest on.
        self.downsample = nn.ModuleList(
            ConvModule(out, out, 3, stride=2, padding=1, **layer) for out in (o3, o4))
        self.bottom_up = nn.ModuleList([csp(o3 + o4, o4), csp(o4 + o5, o5)])

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Map the backbone's maps to as many, shallowest first."""
        check_levels(feats, self.in_channels, 'neck')
        feats = feats[::-1]
        laterals = [self.top_down[0](feats[0])]
        for feat, reduce, layer in zip(feats[1:], self.reduce, self.top_down[1:]):
            above = F.interpolate(reduce(laterals[-1]), scale_factor=2.)
            laterals.append(layer(torch.cat((above, feat), dim=1)))
        outs = [laterals.pop()]
        for downsample, layer in zip(self.downsample, self.bottom_up):
            outs.append(layer(torch.cat((downsample(outs[-1]), laterals.pop()), dim=1)))
        return tuple(outs)
