"""The base class of the heads of PP-YOLOE and YOLOv10."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.dense_heads.gfl_head import Integral
from mmdet.models.task_modules import AssignResult, MlvlPointGenerator
from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2distance, distance2bbox
from mmdet.utils import InstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ...utils.errors import UserError


class Predictions(NamedTuple):
    """The predictions of a head for N images, at the P points of all levels.

    Attributes:
        score_logits: The logits (N, P, num_classes) of the scores.
        distance_logits: The logits (N, P, 4 * (reg_max + 1)) of the distances to the left, top, right and bottom sides.
        boxes: The boxes (N, P, 4), as (x1, y1, x2, y2) in pixels.
        points: The points (P, 4): x and y in pixels, then the stride twice.
        num_points: The number of points in each level.
    """

    score_logits: Tensor
    distance_logits: Tensor
    boxes: Tensor
    points: Tensor
    num_points: list[int]


class DistributionHead(BaseDenseHead):
    """A head that predicts, at each point of each level, the scores of the classes and the distances to a box's sides.

    The head predicts a distribution over 0, 1, ..., ``reg_max`` strides for each distance. The distance is the
    expectation of this distribution (generalized focal loss, arXiv 2006.04388).

    A subclass defines ``forward`` and calls :meth:`losses`. For each level, shallowest first, ``forward`` returns the
    maps ``cls_scores`` (N, num_classes, H, W) and ``bbox_preds`` (N, 4 * (reg_max + 1), H, W).

    Args:
        num_classes: The number of classes.
        in_channels: The channels of the neck's maps, shallowest first.
        reg_max: The largest distance in strides.
        strides: The strides of the levels in pixels.
        loss_cls: The loss of the scores against soft targets.
        loss_bbox: The loss of the boxes.
        loss_dfl: The loss of the distributions. With a weight of 1, it is the mean over the four sides.
        train_cfg: The settings for training, which the subclass defines. Defaults to None.
        test_cfg: The settings for inference: ``score_thr``, ``nms_pre``, ``max_per_img`` and ``nms``. Defaults to
            None.
        init_cfg: The initialisation. Defaults to None.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        reg_max: int,
        strides: Sequence[int],
        loss_cls: dict,
        loss_bbox: dict,
        loss_dfl: dict,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.num_classes = self.cls_out_channels = num_classes
        self.in_channels = tuple(in_channels)
        self.reg_max = reg_max
        self.strides = tuple(strides)
        self.use_sigmoid_cls = True
        self.integral = Integral(reg_max)
        self.prior_generator = MlvlPointGenerator(strides, offset=0.5)
        self.bbox_coder = DistancePointBBoxCoder()
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_dfl = MODELS.build(loss_dfl)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg

    def flatten(self, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor]) -> Predictions:
        """Concatenate the points of all levels in the maps that ``forward`` returns, and compute the boxes."""
        dtype = torch.promote_types(cls_scores[0].dtype, torch.float32)  # mixed precision gives half precision
        scores, logits = (
            torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1).to(dtype)
            for maps in (cls_scores, bbox_preds)
        )
        levels = self.prior_generator.grid_priors(
            [level.shape[-2:] for level in cls_scores], dtype, scores.device, with_stride=True
        )
        points = torch.cat(levels)
        distances = self._expectations(logits).reshape(len(scores), -1, 4) * points[:, 2:].repeat(1, 2)
        boxes = distance2bbox(points[:, :2].expand(len(scores), -1, -1), distances)
        return Predictions(scores, logits, boxes, points, num_points=[len(level) for level in levels])

    def losses(
        self, predictions: Predictions, assignments: Sequence[AssignResult], batch_gt_instances: InstanceList
    ) -> dict[str, Tensor]:
        """Compute the losses of predictions against the boxes that are assigned to their points.

        Each loss is a sum over the points, divided by the sum of the target scores, or by 1 if that sum is smaller. The
        losses of a box and of its distances are weighted by the target score of the point.

        Args:
            predictions: The predictions.
            assignments: One result per image. Their ``assign_metrics`` are the target scores.
            batch_gt_instances: The ``bboxes`` and ``labels`` of each image.

        Returns:
            ``loss_cls``, ``loss_bbox``, ``loss_dfl``.
        """
        scores, logits, boxes, points, _ = predictions
        gt_inds = torch.stack([result.gt_inds for result in assignments])
        quality = torch.stack([result.assign_metrics for result in assignments])
        positive = gt_inds > 0
        labels = torch.stack([result.labels for result in assignments])
        one_hot = F.one_hot(torch.where(positive, labels, self.num_classes), self.num_classes + 1)[..., :-1]
        targets = one_hot * quality[..., None]
        total = reduce_mean(targets.sum()).clamp(min=1)  # the mean over the GPUs
        loss_cls = self.loss_cls(scores.flatten(0, 1), targets.flatten(0, 1), avg_factor=total)
        if not positive.any():
            # No point has a box. These zeros still give every parameter a gradient, which distributed training needs.
            zero = logits.sum() * 0
            return dict(loss_cls=loss_cls, loss_bbox=zero, loss_dfl=zero)
        gt_boxes = torch.cat([gt.bboxes[found[found > 0] - 1] for gt, found in zip(batch_gt_instances, gt_inds)])
        weight = quality[positive]
        loss_bbox = self.loss_bbox(boxes[positive], gt_boxes, weight=weight, avg_factor=total)
        points = points.expand(len(scores), -1, -1)[positive]
        strides = points[:, 2:]
        distances = bbox2distance(points[:, :2] / strides, gt_boxes / strides.repeat(1, 2), self.reg_max, eps=0.01)
        loss_dfl = self.loss_dfl(
            logits[positive].reshape(-1, self.reg_max + 1),
            distances.reshape(-1),
            weight=weight.repeat_interleave(4),
            avg_factor=4 * total,
        )
        return dict(loss_cls=loss_cls, loss_bbox=loss_bbox, loss_dfl=loss_dfl)

    def assigner_inputs(self, predictions: Predictions) -> list[InstanceData]:
        """The ``priors``, ``bboxes`` and ``scores`` of each image for an assigner, without gradients."""
        return [
            InstanceData(priors=predictions.points, bboxes=boxes, scores=scores)
            for boxes, scores in zip(predictions.boxes.detach(), predictions.score_logits.detach().sigmoid())
        ]

    def check_labels(self, batch_gt_instances: InstanceList) -> None:
        """Check the labels of a batch.

        Raises:
            UserError: A label is not in 0 to ``num_classes`` - 1.
        """
        for gt in batch_gt_instances:
            wrong = gt.labels[(gt.labels < 0) | (gt.labels >= self.num_classes)]
            if len(wrong):
                raise UserError(
                    f'a box has the class {int(wrong[0])}, but the bbox_head has num_classes={self.num_classes}, so '
                    f'classes must be 0 to {self.num_classes - 1}. Set model.bbox_head.num_classes to the number of '
                    'classes in the dataset.'
                )

    def predict_by_feat(
        self, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor], **kwargs: Any
    ) -> InstanceList:
        """Turn the maps that ``forward`` returns into detections.

        Args:
            cls_scores: The logits (N, num_classes, H, W) of each level.
            bbox_preds: The logits (N, 4 * (reg_max + 1), H, W) of each level.
            **kwargs: The other arguments of MMDetection's ``BaseDenseHead.predict_by_feat``.

        Returns:
            For each image: ``bboxes`` (n, 4) as (x1, y1, x2, y2), in pixels of the network's input or, with
            ``rescale=True``, of the original image; ``scores`` (n,); and ``labels`` (n,).
        """
        return super().predict_by_feat(cls_scores, self._distances(bbox_preds), **kwargs)

    def _distances(self, bbox_preds: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The distances (N, 4, H, W) in pixels for the maps of each level."""
        return tuple(
            self._expectations(maps.permute(0, 2, 3, 1)).reshape(len(maps), *maps.shape[-2:], 4).permute(0, 3, 1, 2)
            * stride
            for maps, stride in zip(bbox_preds, self.strides)
        )

    def _expectations(self, logits: Tensor) -> Tensor:
        """The expected distances (n, 4) in strides. The last dimension of the logits has the size 4 * (reg_max + 1)."""
        # Mixed precision would compute the last product in half precision. Boxes would be off by a pixel or more.
        with torch.autocast(logits.device.type, enabled=False):
            return self.integral(logits.to(torch.promote_types(logits.dtype, torch.float32)))
