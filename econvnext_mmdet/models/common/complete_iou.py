"""Complete IoU (arXiv 1911.08287): the overlap for the assigner, and the loss of the boxes."""

import torch
from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS, TASK_UTILS
from torch import Tensor, nn
from torchvision.ops import complete_box_iou, complete_box_iou_loss

# The smallest side length of a box in pixels. It keeps atan(w / h) from being NaN for a box without area.
LEAST_SIDE = 1e-3


def with_area(boxes: Tensor) -> Tensor:
    """Lengthen sides shorter than ``LEAST_SIDE`` to this length. Boxes are (..., 4), as (x1, y1, x2, y2) in pixels."""
    return torch.cat((boxes[..., :2], torch.maximum(boxes[..., 2:], boxes[..., :2] + LEAST_SIDE)), dim=-1)


@TASK_UTILS.register_module()
class CIoUOverlaps2D:
    """The complete IoU of every pair of boxes. Negative values become 0."""

    def __call__(self, bboxes1: Tensor, bboxes2: Tensor) -> Tensor:
        """Compute the overlaps (M, N) of boxes (M, 4) and (N, 4), each as (x1, y1, x2, y2) in pixels."""
        return complete_box_iou(with_area(bboxes1), with_area(bboxes2)).clamp(min=0)


@MODELS.register_module()
class CompleteIoULoss(nn.Module):
    """1 - complete IoU, computed by torchvision.

    MMDetection's ``CIoULoss`` leaves out the term of the aspect ratio if the IoU is below 0.5. This loss always has it.

    Args:
        loss_weight: The weight of the loss. Defaults to 1.0.
    """

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
    ) -> Tensor:
        """Compute the loss of boxes, each as (x1, y1, x2, y2) in pixels.

        Args:
            pred: The predicted boxes (N, 4).
            target: The target box for each predicted box, (N, 4).
            weight: The weight of each predicted box, (N,). Defaults to None: 1.
            avg_factor: The number by which the sum is divided. Defaults to None: N.

        Returns:
            The loss, a scalar.
        """
        loss = complete_box_iou_loss(with_area(pred), with_area(target))
        return self.loss_weight * weight_reduce_loss(loss, weight, avg_factor=avg_factor)
