"""What the heads of PP-YOLOE and YOLOv10 share."""
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

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

from ..errors import UserError


class Predictions(NamedTuple):
    """What a head predicts at the P points of all levels.

    Attributes:
        scores (Tensor): Logits (N, P, num_classes).
        distances (Tensor): Logits (N, P, 4 * (reg_max + 1)) of left, top, right, bottom.
        boxes (Tensor): (N, P, 4) as (x1, y1, x2, y2) in pixels.
        points (Tensor): (P, 4): x and y in pixels, and the stride, twice.
        num_points (list[int]): Points of each level.
    """
    scores: Tensor
    distances: Tensor
    boxes: Tensor
    points: Tensor
    num_points: List[int]


class DistributionHead(BaseDenseHead):
    """A head that predicts, at each point of each level, scores and the four distances to a box's sides.

    A distance is a distribution over 0, 1, ..., ``reg_max`` strides, and its expectation the prediction (generalized
    focal loss, arXiv 2006.04388). A subclass has ``forward``, which returns the maps ``cls_scores`` (N, num_classes,
    H, W) and ``bbox_preds`` (N, 4 * (reg_max + 1), H, W) of each level, shallowest first, and calls :meth:`losses`.

    Args:
        num_classes (int): Number of classes.
        in_channels (Sequence[int]): Channels of the neck's maps, shallowest first.
        reg_max (int): The largest distance in strides.
        strides (Sequence[int]): Strides of the levels in pixels.
        loss_cls (dict): Loss of the scores against soft targets.
        loss_bbox (dict): Loss of the boxes.
        loss_dfl (dict): Loss of the distributions; one of weight 1 is the mean over the four sides.
        train_cfg (dict, optional): As the subclass says. Defaults to None.
        test_cfg (dict, optional): ``score_thr``, ``nms_pre``, ``max_per_img``, and ``nms``. Defaults to None.
        init_cfg (dict, optional): How to initialise. Defaults to None.
    """

    def __init__(self, num_classes: int, in_channels: Sequence[int], reg_max: int, strides: Sequence[int],
                 loss_cls: dict, loss_bbox: dict, loss_dfl: dict, train_cfg: Optional[dict] = None,
                 test_cfg: Optional[dict] = None, init_cfg: Optional[dict] = None):
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
        """Put the levels' maps, as ``forward`` returns them, after one another."""
        dtype = torch.promote_types(cls_scores[0].dtype, torch.float32)  # in mixed precision they are of half
        scores, distances = (torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1).to(dtype)
                             for maps in (cls_scores, bbox_preds))
        points = self.prior_generator.grid_priors(
            [level.shape[-2:] for level in cls_scores], dtype, scores.device, with_stride=True)
        num_points, points = [len(level) for level in points], torch.cat(points)
        sides = self._expectations(distances).reshape(len(scores), -1, 4) * points[:, 2:].repeat(1, 2)
        boxes = distance2bbox(points[:, :2].expand(len(scores), -1, -1), sides)
        return Predictions(scores, distances, boxes, points, num_points)

    def losses(self, predictions: Predictions, assignments: Sequence[AssignResult],
               batch_gt_instances: InstanceList) -> Dict[str, Tensor]:
        """The losses of predictions against the boxes that were assigned to their points.

        Each is the sum over the points, divided by the sum of the scores' targets, at least 1; that of a box is
        weighted by its point's target.

        Args:
            predictions (Predictions): The predictions.
            assignments (Sequence[AssignResult]): Of each image, with ``assign_metrics``, the scores' targets.
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox``, ``loss_dfl``.
        """
        scores, distances, boxes, points, _ = predictions
        gt_inds = torch.stack([result.gt_inds for result in assignments])
        quality = torch.stack([result.assign_metrics for result in assignments])
        positive = gt_inds > 0
        labels = torch.stack([result.labels for result in assignments])
        one_hot = F.one_hot(torch.where(positive, labels, self.num_classes), self.num_classes + 1)[..., :-1]
        targets = one_hot * quality[..., None]
        total = reduce_mean(targets.sum()).clamp(min=1)
        loss_cls = self.loss_cls(scores.flatten(0, 1), targets.flatten(0, 1), avg_factor=total)
        if not positive.any():  # of no point, but with a gradient for all parameters, as distributed training wants it
            nothing = distances.sum() * 0
            return dict(loss_cls=loss_cls, loss_bbox=nothing, loss_dfl=nothing)
        gt_boxes = torch.cat([gt.bboxes[found[found > 0] - 1] for gt, found in zip(batch_gt_instances, gt_inds)])
        weight = quality[positive]
        loss_bbox = self.loss_bbox(boxes[positive], gt_boxes, weight=weight, avg_factor=total)
        points = points.expand(len(scores), -1, -1)[positive]
        strides = points[:, 2:]
        sides = bbox2distance(points[:, :2] / strides, gt_boxes / strides.repeat(1, 2), self.reg_max, eps=0.01)
        loss_dfl = self.loss_dfl(distances[positive].reshape(-1, self.reg_max + 1), sides.reshape(-1),
                                 weight=weight.repeat_interleave(4), avg_factor=4 * total)
        return dict(loss_cls=loss_cls, loss_bbox=loss_bbox, loss_dfl=loss_dfl)

    def predictions_of(self, predictions: Predictions) -> List[InstanceData]:
        """What an assigner is given of each image: ``priors``, ``bboxes`` and ``scores``, without gradients."""
        return [InstanceData(priors=predictions.points, bboxes=boxes, scores=scores)
                for boxes, scores in zip(predictions.boxes.detach(), predictions.scores.detach().sigmoid())]

    def check_labels(self, batch_gt_instances: InstanceList) -> None:
        """Check the classes of a batch.

        Raises:
            UserError: A label is not from 0 to ``num_classes`` - 1.
        """
        for gt in batch_gt_instances:
            wrong = gt.labels[(gt.labels < 0) | (gt.labels >= self.num_classes)]
            if len(wrong):
                raise UserError(f'a box has the class {int(wrong[0])}, and the bbox_head has num_classes='
                                f'{self.num_classes}, classes from 0 to {self.num_classes - 1}; set '
                                'model.bbox_head.num_classes to the number of the dataset\'s classes')

    def predict_by_feat(self, cls_scores: Sequence[Tensor], bbox_preds: Sequence[Tensor], **kwargs) -> InstanceList:
        """Make detections of the maps that ``forward`` returns.

        Args:
            cls_scores (Sequence[Tensor]): Logits (N, num_classes, H, W) of each level.
            bbox_preds (Sequence[Tensor]): Logits (N, 4 * (reg_max + 1), H, W) of each level.
            **kwargs: As of mmdet's ``BaseDenseHead.predict_by_feat``.

        Returns:
            list[InstanceData]: ``bboxes``, ``scores`` and ``labels`` of each image.
        """
        return super().predict_by_feat(cls_scores, self._sides(bbox_preds), **kwargs)

    def _sides(self, bbox_preds: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """The distances (N, 4, H, W) in pixels of each level's distributions."""
        return tuple(
            self._expectations(maps.permute(0, 2, 3, 1)).reshape(len(maps), *maps.shape[-2:], 4).permute(0, 3, 1, 2)
            * stride for maps, stride in zip(bbox_preds, self.strides))

    def _expectations(self, distances: Tensor) -> Tensor:
        """Distances (n, 4) in strides of logits of 4 * (reg_max + 1) channels."""
        # Mixed precision would take the last product in half precision: boxes off by a pixel and more.
        with torch.autocast(distances.device.type, enabled=False):
            return self.integral(distances.to(torch.promote_types(distances.dtype, torch.float32)))
