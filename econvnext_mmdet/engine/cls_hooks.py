"""What mmpretrain's hooks lack."""
from pathlib import Path
from typing import Sequence

from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import Tensor


@HOOKS.register_module()
class RGBVisualizationHook(VisualizationHook):
    """mmpretrain's hook with the images' own colours, and a picture for each image.

    The loaded images are BGR and the visualizer draws RGB; mmpretrain's inferencer swaps the channels between, its
    hook does not. Its pictures are named by the image's file alone, so that those of two folders with files of one
    name are one; here the folder is in the name.

    Args:
        **kwargs: As of mmpretrain's ``VisualizationHook``, and ``resize`` (int), the short side of a picture in
            pixels.
    """

    def _draw_samples(self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample],
                      step: int = 0) -> None:
        if not self.enable:
            return
        images = data_batch['inputs']
        if isinstance(images, (list, tuple)) and not (isinstance(images[0], Tensor) and images[0].dim() == 3):
            images = images[-1]  # test-time augmentation: the batch in each of its views, as it is last
        named = [sample.new(metainfo=dict(img_path='_'.join(Path(sample.img_path).parts[-2:])))
                 if 'img_path' in sample else sample for sample in data_samples]
        super()._draw_samples(batch_idx, dict(inputs=[image.flip(0) for image in images]), named, step)
