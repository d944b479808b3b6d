"""MMDetection's inferencer with strict checks of checkpoints and images."""

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import mmcv
import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate

from ..datasets.classes import label_names
from ..deploy.predictors import ExportedPredictor, use_exported
from ..deploy.runtime import is_exported
from ..models.fuse import fuse
from ..utils.config import tested_dataset
from ..utils.drawing import LastPicture, color_type_of, draw
from ..utils.errors import UserError
from ..utils.files import check_pixels, is_too_dark
from ..utils.fonts import use_font_for
from ..utils.memory import keep_freed_memory
from ..utils.model import number_of_classes, prefer_channels_last
from ..weights.checkpoint import read_checkpoint, use_safe_loaders
from ..weights.loading import check_fits


@dataclass
class Item:
    """An image, or a frame of a video, that is ready for the model.

    Attributes:
        path: The file.
        shape: Height and width in pixels.
        data: The input of the model.
        frame: The number of the frame, from 0. None for an image.
        image: The pixels of the frame, BGR, shape (height, width, 3). None for an image.
    """

    path: str
    shape: tuple[int, int]
    data: dict
    frame: int | None = None
    image: np.ndarray | None = None


class StrictInferencer(DetInferencer):
    """MMDetection's inferencer, but it rejects a checkpoint that does not fit the model.

    It loads each image separately, so that callers can skip an unreadable image. Branches that only training needs are
    folded or dropped.

    Args:
        cfg: The config.
        checkpoint: The checkpoint, or a file that was exported from it.
        device: The device.
        classes: The classes to keep. Defaults to None: all.

    Attributes:
        names: The names of the model's classes, by label.
        kept: The labels of the classes to keep.

    Raises:
        UserError: The checkpoint is unreadable or does not fit the model, or the model does not have one of the
            classes.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str, classes: Sequence[str] | None = None):
        keep_freed_memory()
        use_safe_loaders()
        exported = is_exported(checkpoint)
        self._state, self._meta = ({}, {}) if exported else read_checkpoint(checkpoint)
        self._path = checkpoint
        cfg = copy.deepcopy(cfg)
        dataset = tested_dataset(cfg)
        if dataset is None:
            raise UserError('expected a pipeline in test_dataloader.dataset of the config, which prepares the images')
        # MMDetection reads the pipeline there. It does not look into wrappers or at the validation set.
        cfg.test_dataloader = ConfigDict(dataset=dataset)
        if exported:
            use_exported(cfg, checkpoint)
        # Here the visualizer only draws. The visualizer of the config may also log to a service, or may be missing.
        visualizer = cfg.get('visualizer') or dict(type='DetLocalVisualizer')
        cfg.visualizer = ConfigDict({**visualizer, 'vis_backends': [dict(type=LastPicture)]})
        super().__init__(cfg, None if exported else checkpoint, device=device, show_progress=False)
        self.names: list[str] = list(self.model.dataset_meta['classes'])
        use_font_for(self.names)
        unknown = [name for name in classes or () if name not in self.names]
        if unknown:
            raise UserError(f'the model has no class {", ".join(unknown)}; it has {", ".join(self.names)}')
        self.kept = [label for label, name in enumerate(self.names) if classes is None or name in classes]

    def _load_weights_to_model(self, model: torch.nn.Module, checkpoint: dict | None, cfg: Config) -> None:
        if isinstance(model, ExportedPredictor):
            names, state = model.exported.metadata.names, {}
        else:
            check_fits(model, self._state, self._path)
            names = label_names(cfg, self._meta, number_of_classes(model), self._path)
            state = self._state
        # MMDetection would give a checkpoint without names those of COCO.
        meta = dict(dataset_meta={**(self._meta.get('dataset_meta') or {}), 'classes': names})
        super()._load_weights_to_model(model, dict(state_dict=state, meta=meta), cfg)
        del self._state, self._meta
        if not isinstance(model, ExportedPredictor):
            fuse(model)
            prefer_channels_last(model)

    def _init_collate(self, cfg: Config) -> Callable:
        return pseudo_collate  # MMDetection finds it by its name, with a warning about the registry

    def load(self, image: str | np.ndarray) -> tuple[tuple[int, int], dict, bool]:
        """Load an image and prepare it for the model.

        Args:
            image: The path of the image, or its pixels: BGR, shape (height, width, 3).

        Returns:
            Height and width of the image in pixels, the input of the model, and whether the file has 16 bits of which
            the model sees too little.

        Raises:
            UserError: The file cannot be read, or the pipeline cannot resize the image.
        """
        loader, *steps = self.pipeline.transforms
        # MMDetection passes pixels on as they are, whatever the loader of files does.
        if not isinstance(image, str) and loader.from_file.color_type.startswith('grayscale'):
            image = mmcv.bgr2gray(image)
        if isinstance(image, str):
            check_pixels(image)
        try:
            data = loader(image)
        except Exception as error:  # each decoder has its own exceptions; errors of later steps are not caught here
            if not isinstance(image, str):
                raise
            raise UserError(f'{image} is not a readable image: {_reason(image, error)}') from error
        shape, dark = data['ori_shape'], isinstance(image, str) and is_too_dark(image, data['img'])
        try:
            for step in steps:
                data = step(data)
        except cv2.error as error:  # for example, an image one pixel wide would have a width of 0 after scaling down
            if not isinstance(image, str):
                raise
            raise UserError(
                f'{image} ({shape[1]} x {shape[0]} pixels) cannot be prepared for the model: {error.err or error}'
            ) from error
        return shape, data, dark

    def predict(self, items: Iterable[Item], batch_size: int) -> Iterator[tuple[Item, DetDataSample]]:
        """Run the model on items in batches, and yield each item with its detections of the classes to keep."""
        items = iter(items)
        while True:
            batch = list(islice(items, batch_size))
            if not batch:
                return
            for item, sample in zip(batch, self.forward(self.collate_fn([item.data for item in batch]))):
                found = sample.pred_instances
                if len(self.kept) < len(self.names):
                    sample.pred_instances = found[torch.isin(found.labels, found.labels.new_tensor(self.kept))]
                yield item, sample

    def draw(self, item: Item, sample: DetDataSample, score_thr: float) -> np.ndarray:
        """Draw the detections above a threshold on the image of an item. The result is BGR."""
        image = item.image
        if image is None:
            image = mmcv.imread(item.path, color_type_of(self.pipeline.transforms[0].from_file.color_type))
        # Images are read as BGR, and drawn as RGB.
        picture = draw(self.visualizer, image[..., ::-1], sample, draw_gt=False, pred_score_thr=score_thr)
        return picture[..., ::-1]


def _reason(path: str, error: Exception) -> str:
    """Explain why an image could not be loaded."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return 'the file is damaged, too large or in an unknown format' if os.path.getsize(path) else 'the file is empty'
