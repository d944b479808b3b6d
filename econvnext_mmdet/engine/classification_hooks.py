"""Hooks for classifiers. They extend the hooks of MMPretrain."""

from collections.abc import Sequence
from pathlib import Path

from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from torch import Tensor


@HOOKS.register_module()
class RGBVisualizationHook(VisualizationHook):
    """Draws classified images in their own colours, one picture per image.

    It corrects two things in MMPretrain's ``VisualizationHook``. That hook draws BGR images as if they were RGB. It
    also names a picture after the image file alone, so the pictures of files with the same name in two folders
    overwrite each other. Here the name of the folder comes first.

    Args:
        **kwargs: The arguments of MMPretrain's ``VisualizationHook``, and ``resize``, the short side of a picture in
            pixels.
    """

    def _draw_samples(
        self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample], step: int = 0
    ) -> None:
        if not self.enable:
            return
        images = data_batch['inputs']
        if isinstance(images, (list, tuple)) and not (isinstance(images[0], Tensor) and images[0].dim() == 3):
            images = images[-1]  # test-time augmentation gives several views of the batch; the last one is the original
        named = [
            sample.new(metainfo=dict(img_path='_'.join(Path(sample.img_path).parts[-2:])))
            if 'img_path' in sample
            else sample
            for sample in data_samples
        ]
        super()._draw_samples(batch_idx, dict(inputs=[image.flip(0) for image in images]), named, step)
