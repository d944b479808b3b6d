"""The head of the E-ConvNeXt classifier, for MMPretrain."""

from typing import Any

from mmpretrain.models import LinearClsHead
from mmpretrain.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class BNLinearClsHead(LinearClsHead):
    """MMPretrain's ``LinearClsHead`` with a BatchNorm before the linear layer.

    Args:
        num_classes: The number of classes.
        in_channels: The number of channels C of the pooled features.
        init_cfg: The initialisation. Defaults to a truncated normal distribution with standard deviation 0.02 for the
            weights of the linear layer, and 0 for its biases.
        **kwargs: The other arguments of ``LinearClsHead``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        init_cfg: dict | None = dict(type='TruncNormal', layer='Linear', std=0.02, bias=0),
        **kwargs: Any,
    ):
        super().__init__(num_classes, in_channels, init_cfg=init_cfg, **kwargs)
        self.norm = nn.BatchNorm1d(in_channels)

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Take the features of the last stage, pooled to (N, C), and normalise them."""
        return self.norm(super().pre_logits(feats))
