"""A base class for backbones, and checks that backbones, necks and heads share."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...utils.errors import UserError


class StagedBackbone(BaseModule):
    """A backbone that runs ``stem`` and four ``stages``, and returns the outputs of the last three stages.

    A subclass builds ``stem`` and ``stages``.
    """

    stem: nn.Module
    stages: nn.ModuleList

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to maps at the strides 8, 16 and 32."""
        x = self.stem(x)
        outs = []
        for stage in self.stages:
            x = stage(x)
            outs.append(x)
        return tuple(outs[1:])


def check_levels(feats: Sequence[Tensor], in_channels: Sequence[int], part: str) -> None:
    """Check the maps that a neck or a head gets.

    Args:
        feats: One map (N, C, H, W) per level, shallowest first. Each must be half as high and wide as the one before.
        in_channels: The expected numbers of channels.
        part: The part that gets the maps, by its name in a config: 'neck' or 'bbox_head'.

    Raises:
        UserError: The number of levels, their channels or their sizes are wrong.
    """
    found = [feat.shape[1] for feat in feats]
    if found != list(in_channels):
        raise UserError(
            f'{part} expects maps with {list(in_channels)} channels, shallowest first, but got {found}. Set '
            f'model.{part}.in_channels, or set model.backbone.out_indices to the stages at strides 8, 16 and 32.'
        )
    sizes = [tuple(feat.shape[-2:]) for feat in feats]
    if any(height != 2 * low or width != 2 * narrow for (height, width), (low, narrow) in zip(sizes, sizes[1:])):
        raise UserError(
            f'{part} expects each map to be half as high and wide as the one before, but got the sizes {sizes}. The '
            "height and width of the network's input must be multiples of the largest stride. Set "
            'model.data_preprocessor.pad_size_divisor=32, or give a --shape of such multiples.'
        )


def check_arch(arch: str, known: Sequence[str], part: str) -> None:
    """Check the name of a scale.

    Raises:
        UserError: The name is not one of ``known``.
    """
    if arch not in known:
        raise UserError(f'arch of {part} must be one of {", ".join(known)}; got {arch!r}')
