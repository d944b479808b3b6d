"""The loss of YOLOv10's boxes."""
from typing import Optional

from mmdet.models.losses.utils import weight_reduce_loss
from mmdet.registry import MODELS
from torch import Tensor, nn
from torchvision.ops import complete_box_iou_loss

from ..task_aligned import with_area


@MODELS.register_module()
class CompleteIoULoss(nn.Module):
    """1 - complete IoU (arXiv 1911.08287), by torchvision.

    mmdet's ``CIoULoss`` leaves the term of the aspect ratio out where the IoU is below 0.5; this one never does.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 1.0.
    """

    def __init__(self, loss_weight: float = 1.):
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor, weight: Optional[Tensor] = None,
                avg_factor: Optional[Tensor] = None) -> Tensor:
        """The loss of boxes (N, 4) against others, each (x1, y1, x2, y2) in pixels.

        Args:
            pred (Tensor): Predicted boxes.
            target (Tensor): Boxes that they should be.
            weight (Tensor, optional): Weight of each, (N, ). Defaults to None.
            avg_factor (Tensor, optional): What the sum is divided by. Defaults to None: N.

        Returns:
            Tensor: The loss, a number.
        """
        loss = complete_box_iou_loss(with_area(pred), with_area(target))
        return self.loss_weight * weight_reduce_loss(loss, weight, avg_factor=avg_factor)
