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
from ..utils.errors import UserError
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
        """Find the folder that holds all images, how they are loaded, and a font for the classes.

        Raises:
            UserError: A picture would overwrite an image.
        """
        parts = list(detection_parts(runner.test_dataloader.dataset))
        use_font_for(name for part in parts for name in part.metainfo.get('classes', ()))
        folders = {part.data_prefix['img'] for part in parts if part.data_prefix.get('img')}
        images = [part.get_data_info(i)['img_path'] for part in parts for i in range(len(part))]
        folders |= set(map(os.path.dirname, images))
        self._root = os.path.commonpath(map(os.path.abspath, folders)) if folders else None
        loaders = (getattr(part.pipeline.transforms[0], 'color_type', 'color') for part in parts)
        self._color_type = color_type_of(next(loaders, 'color'))
        if self.draw and self.test_out_dir is not None:
            read = set(map(os.path.realpath, images))
            for target in (self._path_of_picture(runner, image) for image in images):
                if os.path.realpath(target) in read:
                    raise UserError(
                        f'a picture would overwrite the image {target}; give another folder for the pictures'
                    )

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[DetDataSample]
    ) -> None:
        """Draw the pictures of a batch."""
        for sample in outputs if self.draw else ():
            self._test_index += 1
            image = imread(sample.img_path, self._color_type, channel_order='rgb', backend_args=self.backend_args)
            self._visualizer.add_datasample(
                os.path.basename(sample.img_path) if self.show else 'test_img',
                image,
                data_sample=sample,
                show=self.show,
                wait_time=self.wait_time,
                pred_score_thr=self.score_thr,
                out_file=self.test_out_dir and self._path_of_picture(runner, sample.img_path),
                step=self._test_index,
            )

    def _path_of_picture(self, runner: Runner, image: str) -> str:
        folder, name = os.path.split(os.path.abspath(image))
        inside = os.path.relpath(folder, self._root or folder)
        return os.path.join(runner.work_dir, runner.timestamp, self.test_out_dir, inside, name)
