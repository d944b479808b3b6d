"""Hooks that need MMDetection: what training uses, and pictures."""

import os
from collections.abc import Sequence

from mmcv import imread
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..datasets.usable import detection_parts, usable
from ..utils.drawing import color_type_of
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
    """MMDetection's DetVisualizationHook, whose pictures keep the folders and the orientation of the images of a test.

    DetVisualizationHook names a picture after its image only, so images of one name in several folders overwrite each
    other's pictures. It also turns each image by EXIF, even if the detector saw it as it is stored.
    """

    def before_test(self, runner: Runner) -> None:
        """Find the folder that holds all images, how they are loaded, and a font for the classes."""
        parts = list(detection_parts(runner.test_dataloader.dataset))
        use_font_for(name for part in parts for name in part.metainfo.get('classes', ()))
        folders = {part.data_prefix['img'] for part in parts if part.data_prefix.get('img')}
        folders |= {os.path.dirname(part.get_data_info(i)['img_path']) for part in parts for i in range(len(part))}
        self._root = os.path.commonpath(map(os.path.abspath, folders)) if folders else None
        loaders = (getattr(part.pipeline.transforms[0], 'color_type', 'color') for part in parts)
        self._color_type = color_type_of(next(loaders, 'color'))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        """Draw the pictures of a batch."""
        for sample in outputs if self.draw else ():
            self._test_index += 1
            folder, name = os.path.split(os.path.abspath(sample.img_path))
            out_file = None
            if self.test_out_dir is not None:
                inside = os.path.relpath(folder, self._root or folder)
                out_file = os.path.join(runner.work_dir, runner.timestamp, self.test_out_dir, inside, name)
            image = imread(sample.img_path, self._color_type, channel_order='rgb', backend_args=self.backend_args)
            self._visualizer.add_datasample(
                name if self.show else 'test_img',
                image,
                data_sample=sample,
                show=self.show,
                wait_time=self.wait_time,
                pred_score_thr=self.score_thr,
                out_file=out_file,
                step=self._test_index,
            )
