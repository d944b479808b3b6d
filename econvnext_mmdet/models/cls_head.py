"""The head of E-ConvNeXt's classifier, for mmpretrain."""
from typing import Tuple

from mmpretrain.models import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class BNLinearClsHead(LinearClsHead):
    """mmpretrain's linear head with a BatchNorm over the pooled vector before it.

    Args:
        num_classes (int): Number of classes.
        in_channels (int): Channels of the pooled vector.
        init_cfg (dict, optional): Defaults to a truncated normal with standard deviation 0.02, biases 0.
        **kwargs: As of mmpretrain's ``LinearClsHead``.
    """

    def __init__(self, num_classes: int, in_channels: int,
                 init_cfg: dict = dict(type='TruncNormal', layer='Linear', std=0.02, bias=0), **kwargs):
        super().__init__(num_classes, in_channels, init_cfg=init_cfg, **kwargs)
        self.norm = nn.BatchNorm1d(in_channels)

    def pre_logits(self, feats: Tuple[Tensor]) -> Tensor:
        """The normed vector (N, C) of the last of the pooled features, each (N, C)."""
        return self.norm(super().pre_logits(feats))
