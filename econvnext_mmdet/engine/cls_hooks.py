"""What mmpretrain's hooks lack."""
from typing import Sequence

from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import Tensor


@HOOKS.register_module()
class RGBVisualizationHook(VisualizationHook):
    """mmpretrain's hook with the images' own colours.

    The loaded images are BGR and the visualizer draws RGB; mmpretrain's inferencer swaps the channels between, its
    hook does not.

    Args:
        **kwargs: As of mmpretrain's ``VisualizationHook``, and ``resize`` (int), the short side of a picture in
            pixels.
    """

    def _draw_samples(self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample],
                      step: int = 0) -> None:
        images = data_batch['inputs']
        if not isinstance(images[0], Tensor):  # test-time augmentation: the batch in each of its views, as it is last
            images = images[-1]
        inputs = [image.flip(0) for image in images]
        super()._draw_samples(batch_idx, {**data_batch, 'inputs': inputs}, data_samples, step)
