"""Whether an exported file gives the outputs of the PyTorch model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_iou

from ..utils.errors import UserError
from .predictors import ExportedPredictor
from .runtime import ExportedModel

# The largest differences that rounding explains.
PIXELS = 1e-2
SCORE = 1e-4
MASK = 1e-2  # the share of a mask's pixels
# If two scores, or an IoU and the threshold of NMS, are equal up to rounding, either of two boxes may be kept. If such
# ties leave more than one detection, and more than this share, without an equal one, it is an error.
TIES = 0.01
# A detection can be left over from a tie only if its score is the lowest, or if it overlaps another detection so much.
OVERLAP = 0.3


@dataclass
class Agreement:
    """What was compared, and the largest differences.

    Attributes:
        images: The number of images.
        detections: The number of detections. None for a classifier or a backbone.
        pixels: The largest difference of a coordinate in pixels. None if no box was compared.
        score: The largest difference of a score. None if none was compared.
        mask: The largest share of a mask's pixels that differ. None if no mask was compared.
        maps: The largest difference of a backbone's map, relative to its largest magnitude. None for other models.
        ties: The number of detections without an equal one.
    """

    images: int = 0
    detections: int | None = None
    pixels: float | None = None
    score: float | None = None
    mask: float | None = None
    maps: float | None = None
    ties: int = 0

    def largest(self, what: str, difference: float) -> None:
        """Keep the largest difference of a kind: 'pixels', 'score', 'mask' or 'maps'."""
        setattr(self, what, max(getattr(self, what) or 0.0, difference))

    def __str__(self) -> str:
        parts = [f'{self.images} images']
        if self.detections == 0:
            parts.append('neither finds anything in them, so no box was compared')
        if self.detections:
            parts.append(f'{self.detections} detections, boxes differ by at most {self.pixels:.1e} pixels')
        if self.score is not None:
            parts.append(f'scores differ by at most {self.score:.1e}')
        if self.mask is not None:
            parts.append(f'masks differ in at most {self.mask:.2%} of their pixels')
        if self.maps is not None:
            parts.append(f'maps differ by at most {self.maps:.1e} of their largest value')
        if self.ties:
            parts.append(f'{self.ties} detections have no equal one, because of ties')
        return ', '.join(parts)


def compare(model: BaseModel, exported: ExportedPredictor, batches: Iterable[Tensor]) -> Agreement:
    """Compare an exported file with the prediction of MMDetection or MMPretrain.

    Args:
        model: The PyTorch model in evaluation mode.
        exported: The exported detector or classifier.
        batches: Batches of images (N, 3, H, W), uint8, BGR.

    Raises:
        UserError: The outputs differ by more than rounding explains.
    """
    agreement = Agreement()
    for images in batches:
        where = f'on a batch of {len(images)} images of {images.shape[2]} x {images.shape[3]} pixels (height x width)'
        results = []
        with torch.no_grad():
            for predictor in (model, exported):
                samples = [exported.new_sample(image) for image in images.numpy()]
                results.append(predictor.test_step(dict(inputs=list(images), data_samples=samples)))
        for expected, found in zip(*results):
            agreement.images += 1
            if 'pred_instances' in expected:
                _compare_detections(agreement, expected.pred_instances, found.pred_instances, where)
            else:
                difference = float((expected.pred_score - found.pred_score).abs().max())
                agreement.largest('score', difference)
                _require(difference <= SCORE, f'a probability differs by {difference:.1e}', where)
    return agreement


def compare_backbone(model: BaseModel, exported: ExportedModel, batches: Iterable[Tensor]) -> Agreement:
    """Compare the maps of an exported backbone with those of PyTorch, see :func:`compare`."""
    agreement = Agreement()
    for images in batches:
        where = f'on a batch of {len(images)} images of {images.shape[2]} x {images.shape[3]} pixels (height x width)'
        with torch.no_grad():
            prepared = model.data_preprocessor(dict(inputs=list(images), data_samples=None))['inputs']
            expected: Sequence[Tensor] = model.backbone(prepared)
        for theirs, ours in zip(expected, exported(images.numpy()).values(), strict=True):
            _require(ours.shape == tuple(theirs.shape), f'a map has the shape {ours.shape}', where)
            difference = float(np.abs(theirs.numpy() - ours).max() / theirs.abs().max())
            agreement.largest('maps', difference)
            _require(difference <= SCORE, f'a map differs by {difference:.1e} of its largest value', where)
        agreement.images += len(images)
    return agreement


def _compare_detections(agreement: Agreement, expected: InstanceData, found: InstanceData, where: str) -> None:
    """Match the detections of one image. Detections of nearly equal scores may change places."""
    number = max(len(expected), len(found))
    agreement.detections = (agreement.detections or 0) + number
    if not number:
        return
    distance = (expected.bboxes[:, None] - found.bboxes[None]).abs().amax(-1)
    score = (expected.scores[:, None] - found.scores[None]).abs()
    fits = (distance <= PIXELS) & (score <= SCORE) & (expected.labels[:, None] == found.labels[None])
    ours, theirs = linear_sum_assignment(torch.where(fits, distance, 1.0).numpy())
    matched = fits[ours, theirs].numpy()
    ours, theirs = ours[matched], theirs[matched]
    for lone, others in (
        (_without(expected, ours), found),
        (_without(found, theirs), expected),
    ):
        _require(bool(_may_be_ties(lone, others).all()), 'a detection has no equal one', where)
    agreement.ties += number - len(ours)
    _require(
        agreement.ties <= max(1, TIES * agreement.detections),
        f'{agreement.ties} of {agreement.detections} detections have no equal one',
        where,
    )
    if not len(ours):
        return
    agreement.largest('pixels', float(distance[ours, theirs].max()))
    agreement.largest('score', float(score[ours, theirs].max()))
    if 'masks' in expected:
        masks, others = expected.masks[ours], found.masks[theirs]
        area = (masks | others).sum((1, 2)).clamp(min=1)
        mask = float(((masks != others).sum((1, 2)) / area).max())
        agreement.largest('mask', mask)
        _require(mask <= MASK, f'{mask:.1%} of the pixels of a mask differ', where)


def _without(instances: InstanceData, places: np.ndarray) -> InstanceData:
    kept = torch.ones(len(instances), dtype=torch.bool)
    kept[places] = False
    return instances[kept]


def _may_be_ties(lone: InstanceData, others: InstanceData) -> Tensor:
    """Whether detections that the other model lacks can come from a tie, shape (n, )."""
    if not len(others):
        return torch.zeros(len(lone), dtype=torch.bool)
    overlaps = box_iou(lone.bboxes, others.bboxes).amax(1) >= OVERLAP
    return overlaps | (lone.scores <= others.scores.min() + SCORE)


def check_images(batch: int, shape: tuple[int, int]) -> Tensor:
    """Make images of random rectangles, on which an untrained detector finds different things in each place.

    Args:
        batch: The number of images.
        shape: Height and width in pixels.

    Returns:
        The images (N, 3, H, W), uint8.
    """
    rng = np.random.default_rng(batch * shape[0] + shape[1])
    images = rng.integers(0, 256, (batch, 3, 1, 1)) + rng.normal(0, 10, (batch, 3, *shape))
    for image in images:
        for _ in range(12):
            top, left = (int(rng.integers(0, size)) for size in shape)
            height, width = (int(rng.integers(4, size // 2)) for size in shape)
            image[:, top : top + height, left : left + width] = rng.integers(0, 256, (3, 1, 1))
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8))


def _require(holds: bool, what: str, where: str) -> None:
    if not holds:
        raise UserError(
            f'the exported model does not agree with PyTorch: {what} {where}. Nothing was written. Report this with '
            'the config and the checkpoint.'
        )
