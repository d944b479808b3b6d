"""Hooks that need MMDetection: what training uses, and pictures."""

import os
from collections.abc import Sequence

from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..datasets.usable import detection_parts, usable
from ..utils.fonts import use_font_for


@HOOKS.register_module()
class UsableDataHook(Hook):
    """Says before training how many images and boxes of each class it will use, and refuses to train on none."""

    def before_train(self, runner: Runner) -> None:
        """Count them in the training set that MMDetection has built.

        Raises:
            UserError: No box would be used.
        """
        dataset = runner.train_dataloader.dataset
        numbers = usable(dataset)
        if numbers is not None:
            # The metainfo of a ConcatDataset is a list if its parts differ.
            classes = next(detection_parts(dataset)).metainfo['classes']
            problems = numbers.problems(classes)
            runner.logger.info(numbers.describe(classes))
            for problem in problems:
                runner.logger.warning(problem)


@HOOKS.register_module()
class FolderVisualizationHook(DetVisualizationHook):
    """MMDetection's DetVisualizationHook, whose pictures keep the folders of the images of a test.

    DetVisualizationHook names a picture after its image only, so images of one name in several folders overwrite each
    other's pictures.
    """

    def before_test(self, runner: Runner) -> None:
        """Find the folder that holds all images, and a font for the classes."""
        parts = detection_parts(runner.test_dataloader.dataset)
        use_font_for(name for part in parts for name in part.metainfo.get('classes', ()))
        self._folder: str | None = self.test_out_dir  # type: ignore[has-type]
        prefixes = [part.data_prefix.get('img') for part in detection_parts(runner.test_dataloader.dataset)]
        known = bool(prefixes) and all(prefixes)
        self._root = os.path.commonpath([os.path.abspath(prefix) for prefix in prefixes]) if known else None

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        """Draw the pictures of a batch."""
        for sample in outputs:
            if self._folder is not None and self._root is not None:
                path = os.path.relpath(os.path.abspath(sample.img_path), self._root)
                inside = os.path.dirname(path) if not path.startswith(os.pardir) else ''
                self.test_out_dir = os.path.join(self._folder, inside)
            super().after_test_iter(runner, batch_idx, data_batch, [sample])
