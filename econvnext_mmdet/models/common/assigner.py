"""The assignment of boxes to points that PP-YOLOE and YOLOv10 share."""

import torch
from mmdet.models.task_modules import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor


@TASK_UTILS.register_module()
class InsideTaskAlignedAssigner(BaseAssigner):
    """Task-aligned assignment (TOOD, arXiv 2108.07755) that considers only the points inside a box.

    The metric of a point and a box is score^alpha * overlap^beta. The score is the predicted probability of the box's
    class. The overlap is between the box and the box predicted at the point. Each box chooses the ``topk`` points with
    the highest metric. MMDetection's ``TaskAlignedAssigner`` first takes the ``topk`` of all points and then drops the
    points outside the box. Here, points outside do not compete. If several boxes choose the same point, it goes to the
    box that overlaps most with the box predicted there, even if that box did not choose the point.

    Args:
        topk: The number of points that each box chooses.
        alpha: The exponent of the score.
        beta: The exponent of the overlap. Defaults to 6.0.
        eps: A small number that keeps the scaling of the metric from dividing by 0. Defaults to 1e-9.
        iou_calculator: The overlap. Defaults to ``dict(type='BboxOverlaps2D')``, which is the IoU.
    """

    def __init__(
        self,
        topk: int,
        alpha: float,
        beta: float = 6.0,
        eps: float = 1e-9,
        iou_calculator: dict = dict(type='BboxOverlaps2D'),
    ):
        self.topk = topk
        self.alpha = alpha
        self.beta = beta
        self.eps = eps
        self.iou_calculator = TASK_UTILS.build(iou_calculator)

    @torch.no_grad()
    def assign(
        self, pred_instances: InstanceData, gt_instances: InstanceData, gt_instances_ignore: InstanceData | None = None
    ) -> AssignResult:
        """Assign the G boxes of one image to its P points.

        Args:
            pred_instances: ``priors`` (P, 2 or more) begin with the x and y of the points in pixels; ``bboxes`` (P, 4)
                are the boxes predicted there; ``scores`` (P, C) are the probabilities of the C classes.
            gt_instances: ``bboxes`` (G, 4) and ``labels`` (G,).
            gt_instances_ignore: Not used. Regions to ignore count as background.

        Returns:
            ``gt_inds`` (P,), the number of the box, counted from 1, or 0 for background; ``labels`` (P,), -1 for
            background; ``max_overlaps`` (P,); ``assign_metrics`` (P,), the targets of the scores, 0 for background.
            For each box, the metrics of its points are scaled so that the largest metric equals the largest overlap of
            these points. The scaled metrics are the targets.
        """
        points, boxes, scores = pred_instances.priors[:, :2], pred_instances.bboxes, pred_instances.scores
        gt_boxes, gt_labels = gt_instances.bboxes, gt_instances.labels
        gt_inds = gt_labels.new_zeros(len(points))
        targets = boxes.new_zeros(len(points))
        if len(gt_boxes) == 0:
            return self._result(gt_inds, targets, targets, gt_labels)
        overlaps = self.iou_calculator(gt_boxes, boxes)  # (G, P)
        metric = scores.t()[gt_labels] ** self.alpha * overlaps**self.beta  # (G, P)
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
