"""What backbone, neck and head are told and hand to each other, and checks of it."""
from typing import Sequence, Tuple

from mmengine.model import BaseModule
from torch import Tensor

from ..errors import UserError


class StagedBackbone(BaseModule):
    """A backbone of a ``stem`` and four ``stages``, a subclass's, of which all but the first give a map."""

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to maps at strides 8, 16 and 32."""
        x = self.stem(x)
        outs = []
        for stage in self.stages:
            x = stage(x)
            outs.append(x)
        return tuple(outs[1:])


def check_levels(feats: Sequence[Tensor], in_channels: Sequence[int], part: str) -> None:
    """Check the maps that a neck or a head is given, shallowest first.

    Args:
        feats (Sequence[Tensor]): A map (N, C, H, W) for each level, each half as high and wide as the one before.
        in_channels (Sequence[int]): The channels expected of each.
        part (str): Who expects them, as it is called in a config.

    Raises:
        UserError: There are more or fewer levels, or they have other channels, or other sizes.
    """
    found = [feat.shape[1] for feat in feats]
    if found != list(in_channels):
        raise UserError(f'{part} expects maps of {list(in_channels)} channels, shallowest first, and is given {found}; '
                        f'set {part}.in_channels, or the out_indices of the backbone, strides 8, 16 and 32')
    sizes = [tuple(feat.shape[-2:]) for feat in feats]
    if any(height != 2 * low or width != 2 * narrow for (height, width), (low, narrow) in zip(sizes, sizes[1:])):
        raise UserError(f'{part} expects maps each half as high and wide as the one before, and is given {sizes}; '
                        'the sides of the images must be multiples of the largest stride, so set '
                        'model.data_preprocessor.pad_size_divisor=32')


def check_arch(arch: str, known: Sequence[str], part: str) -> None:
    """Check the name of a scale.

    Raises:
        UserError: It is none of those known.
    """
    if arch not in known:
        raise UserError(f'arch of {part} must be one of {", ".join(known)}; got {arch!r}')
