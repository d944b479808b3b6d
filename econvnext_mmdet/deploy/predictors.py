"""Exported files in place of a model, for MMEngine's runner and MMDetection's inferencer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from ..utils.config import is_classification, type_name
from ..utils.errors import UserError, examples
from ..utils.model import unscaled_sample
from .metadata import SMALLEST_SIDE
from .runtime import ExportedModel


class ExportedPredictor(BaseModel):
    """An exported file with the interface of a model of MMDetection or MMPretrain, for prediction only.

    Args:
        path: The exported file, see :class:`~.runtime.ExportedModel`.
        threads: The number of CPU threads. Defaults to None: the runtime decides.
        tasks: The tasks to accept, see :class:`~.metadata.Metadata`. Defaults to None: those of the class.
        num_classes: The number of classes to accept. Defaults to None: any.
        test_cfg: The settings to accept, see :class:`~.metadata.Metadata`. Defaults to None: any.

    Raises:
        UserError: The file cannot be used, or it has a different task, another number of classes or other settings.
    """

    tasks: tuple[str, ...]

    def __init__(
        self,
        path: str,
        threads: int | None = None,
        tasks: Sequence[str] | None = None,
        num_classes: int | None = None,
        test_cfg: dict | None = None,
    ):
        super().__init__()  # the default data preprocessor only moves the images to the device
        self.exported = ExportedModel(path, threads)
        metadata, tasks = self.exported.metadata, tasks or self.tasks
        advice = 'Give the config from which it was exported.'
        if metadata.task not in tasks:
            raise UserError(
                f'{path} was exported for the task {metadata.task}; expected {" or ".join(tasks)}. {advice}'
            )
        if num_classes not in (None, len(metadata.names)):
            raise UserError(
                f'{path} has {len(metadata.names)} classes ({examples(metadata.names)}), and the model of the config '
                f'has {num_classes}. {advice}'
            )
        contained = metadata.test_cfg or {}
        wanted = contained if test_cfg is None else json.loads(json.dumps(test_cfg))
        for key in {**wanted, **contained}:
            if wanted.get(key) != contained.get(key):
                raise UserError(
                    f'{path} contains model.test_cfg.{key}={contained.get(key)}, and the config has '
                    f'model.test_cfg.{key}={wanted.get(key)}. The settings of an exported file cannot change. Give the '
                    'config from which it was exported, or export the checkpoint again.'
                )
        # The test pipeline may make a long image narrow. A file with a large stride pads it, as PyTorch does.
        self._smallest = 1 if metadata.stride >= SMALLEST_SIDE else SMALLEST_SIDE

    def forward(
        self, inputs: Sequence[Tensor], data_samples: Sequence[Any] | None = None, mode: str = 'predict'
    ) -> Any:
        """Add the predictions to the samples of images.

        Args:
            inputs: The images (3, H, W), BGR from 0 to 255. A batch of images of one size is processed at once.
            data_samples: One sample per image. Defaults to None: new samples.
            mode: 'predict', the only mode of an exported file. Defaults to 'predict'.

        Returns:
            The samples.
        """
        if mode != 'predict':
            raise UserError(f'{self.exported.path} is an exported file, which can only predict; got the mode {mode!r}')
        images = [image.cpu().numpy() for image in inputs]
        samples = list(data_samples) if data_samples is not None else [self.new_sample(image) for image in images]
        batches = [images] if len({image.shape for image in images}) == 1 else [[image] for image in images]
        found = [
            {key: torch.from_numpy(value)[i] for key, value in outputs.items()}
            for batch in batches
            for outputs in [self.exported(np.stack(batch), self._smallest)]
            for i in range(len(batch))
        ]
        for sample, outputs in zip(samples, found):
            self.add(sample, outputs)
        return samples

    def new_sample(self, image: np.ndarray) -> Any:
        """A sample for an image (3, H, W) that was not resized."""
        raise NotImplementedError

    def add(self, sample: Any, outputs: dict[str, Tensor]) -> None:
        """Add the outputs for one image to its sample."""
        raise NotImplementedError


@MODELS.register_module()
class ExportedDetector(ExportedPredictor):
    """An exported detector, see :class:`ExportedPredictor`. Masks are pasted into the image as MMDetection does."""

    tasks = ('detect', 'segment')

    def __init__(self, *args: Any, **kwargs: Any):
        from mmdet.models.roi_heads.mask_heads import FCNMaskHead

        super().__init__(*args, **kwargs)
        # The smallest head: only its method that pastes masks is used. MMPretrain has a loss of the same name, which an
        # earlier run of this process may have made the default.
        loss = dict(type='mmdet.CrossEntropyLoss', use_mask=True)
        head = FCNMaskHead(
            num_convs=0, in_channels=1, conv_out_channels=1, num_classes=1, class_agnostic=True, loss_mask=loss
        )
        self._paste = head._predict_by_feat_single

    def new_sample(self, image: np.ndarray) -> Any:
        return unscaled_sample(image.shape[-2:])

    def add(self, sample: Any, outputs: dict[str, Tensor]) -> None:
        number = int(outputs['num_dets'])
        boxes = outputs['boxes'][:number]
        found = InstanceData(labels=outputs['labels'][:number], scores=outputs['scores'][:number])
        if 'masks' in outputs and not number:  # MMDetection's function fails without masks
            found.masks = torch.zeros((0, *sample.ori_shape[:2]), dtype=torch.bool)
        elif 'masks' in outputs:
            found.masks = self._paste(
                outputs['masks'][:number, None].numpy(),
                boxes.clone(),
                found.labels,
                sample.metainfo,
                ConfigDict(mask_thr_binary=self.exported.metadata.mask_threshold),
                rescale=True,
                activate_map=True,
            )
        found.bboxes = boxes / boxes.new_tensor(sample.scale_factor).repeat(2)
        sample.pred_instances = found


@MODELS.register_module()
class ExportedClassifier(ExportedPredictor):
    """An exported classifier, see :class:`ExportedPredictor`."""

    tasks = ('classify',)

    def new_sample(self, image: np.ndarray) -> Any:
        from mmpretrain.structures import DataSample

        return DataSample()

    def add(self, sample: Any, outputs: dict[str, Tensor]) -> None:
        sample.set_pred_score(outputs['scores']).set_pred_label(outputs['scores'].argmax())


def use_exported(cfg: Config, path: str) -> None:
    """Put an exported file in place of a config's model.

    Args:
        cfg: The whole config. It is changed.
        path: The exported file.
    """
    roi_head = cfg.model.get('roi_head') or {}
    head: Any = next(
        (part[name] for part in (cfg.model, roi_head) for name in ('head', 'bbox_head') if name in part), {}
    )
    last: Any = head[-1] if isinstance(head, (list, tuple)) else head
    settings = dict(num_classes=last.get('num_classes'), test_cfg=cfg.model.get('test_cfg') or {})
    if is_classification(cfg):
        cfg.model = ConfigDict(type='ExportedClassifier', path=path, **settings)
    else:
        # The outputs that the config evaluates, and no others.
        task = 'segment' if roi_head.get('mask_head') else 'detect'
        cfg.model = ConfigDict(type='ExportedDetector', path=path, tasks=[task], **settings)
    cfg.pop('data_preprocessor', None)  # the file normalises the images
    cfg.load_from = None
    # An exported file has no weights of which an average could be kept.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if type_name(hook) != 'EMAHook']
