"""Task-aligned assignment as PP-YOLOE and YOLOv10 do it."""
from typing import Optional

import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import complete_box_iou

# A side of this many pixels at least keeps atan(w / h) of a box without area from being no number.
LEAST_SIDE = 1e-3


def with_area(boxes: Tensor) -> Tensor:
    """Boxes (..., 4) as (x1, y1, x2, y2) in pixels, those without area widened by the smallest bit."""
    return torch.cat((boxes[..., :2], torch.maximum(boxes[..., 2:], boxes[..., :2] + LEAST_SIDE)), dim=-1)


@TASK_UTILS.register_module()
class CIoUOverlaps2D:
    """Complete IoU (arXiv 1911.08287) of every pair of boxes, 0 where it is negative."""

    def __call__(self, bboxes1: Tensor, bboxes2: Tensor) -> Tensor:
        """Overlaps (M, N) of boxes (M, 4) and (N, 4), each (x1, y1, x2, y2) in pixels."""
        return complete_box_iou(with_area(bboxes1), with_area(bboxes2)).clamp(min=0)


@TASK_UTILS.register_module()
class InsideTaskAlignedAssigner(BaseAssigner):
    """Task-aligned assignment (TOOD, arXiv 2108.07755) among the points that lie in a box.

    mmdet's ``TaskAlignedAssigner`` takes the ``topk`` predictions of the highest metric and drops those whose points
    are outside the box; here points outside do not compete. The metric is score^alpha x overlap^beta. A point that
    two boxes claim goes to the box that its prediction overlaps most.

    Args:
        topk (int): Points of each box, at most.
        alpha (float): Exponent of the score.
        beta (float): Exponent of the overlap. Defaults to 6.0.
        eps (float): Keeps the scaling of the metric from dividing by 0. Defaults to 1e-9.
        iou_calculator (dict): The overlap. Defaults to ``dict(type='BboxOverlaps2D')``, the IoU.
    """

    def __init__(self, topk: int, alpha: float, beta: float = 6., eps: float = 1e-9,
                 iou_calculator: dict = dict(type='BboxOverlaps2D')):
        self.topk = topk
        self.alpha = alpha
        self.beta = beta
        self.eps = eps
        self.iou_calculator = TASK_UTILS.build(iou_calculator)

    @torch.no_grad()
    def assign(self, pred_instances: InstanceData, gt_instances: InstanceData,
               gt_instances_ignore: Optional[InstanceData] = None) -> AssignResult:
        """Assign the boxes of one image to its points.

        Args:
            pred_instances (InstanceData): Of P points: ``priors`` (P, 2 or more), their x and y in pixels first;
                ``bboxes`` (P, 4), what is predicted there; ``scores`` (P, C), probabilities.
            gt_instances (InstanceData): ``bboxes`` (G, 4) and ``labels`` (G, ).
            gt_instances_ignore (InstanceData, optional): Not used; a region to ignore is background.

        Returns:
            AssignResult: ``gt_inds`` (P, ), from 1, 0 for background; ``labels`` (P, ), -1 for background;
            ``max_overlaps`` (P, ), and ``assign_metrics`` (P, ), the target of the score: the metric, scaled for
            each box so that its largest is the largest overlap of its points; 0 for background.
        """
        points, boxes, scores = pred_instances.priors[:, :2], pred_instances.bboxes, pred_instances.scores
        gt_boxes, gt_labels = gt_instances.bboxes, gt_instances.labels
        gt_inds = gt_labels.new_zeros(len(points))
        targets = boxes.new_zeros(len(points))
        if len(gt_boxes) == 0:
            return self._result(gt_inds, targets, targets, gt_labels)
        overlaps = self.iou_calculator(gt_boxes, boxes)  # (G, P)
        metric = scores.t()[gt_labels]**self.alpha * overlaps**self.beta
        sides = torch.cat((points - gt_boxes[:, None, :2], gt_boxes[:, None, 2:] - points), dim=-1)  # (G, P, 4)
        inside = sides.amin(-1) > 1e-9
        best = (metric * inside).topk(min(self.topk, len(points)), dim=1).indices
        positive = torch.zeros_like(inside).scatter_(1, best, True) & inside
        closest = torch.zeros_like(inside).scatter_(0, overlaps.argmax(0, keepdim=True), True)
        positive = torch.where(positive.sum(0) > 1, closest, positive)

        metric, overlaps = metric * positive, overlaps * positive
        scale = overlaps.amax(1, keepdim=True) / (metric.amax(1, keepdim=True) + self.eps)
        targets = (metric * scale).amax(0)
        gt_inds = torch.where(positive.any(0), positive.int().argmax(0) + 1, gt_inds)
        return self._result(gt_inds, overlaps.amax(0), targets, gt_labels)

    @staticmethod
    def _result(gt_inds: Tensor, overlaps: Tensor, targets: Tensor, gt_labels: Tensor) -> AssignResult:
        labels = torch.cat((gt_labels.new_tensor([-1]), gt_labels))[gt_inds]
        result = AssignResult(len(gt_labels), gt_inds, overlaps, labels=labels)
        result.assign_metrics = targets
        return result
