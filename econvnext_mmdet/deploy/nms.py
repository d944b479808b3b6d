"""Non-maximum suppression with an output of fixed shape, which PyTorch and ONNX can both express."""

from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor


@torch.library.custom_op('econvnext_mmdet::nms', mutates_args=())
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
    """Mark the boxes that non-maximum suppression keeps.

    Args:
        boxes: The boxes (N, P, 4) of N images, as (x1, y1, x2, y2).
        scores: The scores (N, P). Boxes with negative scores are left out.
        iou_threshold: A box is dropped if its IoU with a better box is above this threshold.
        most: The largest number of boxes to keep in an image.

    Returns:
        A mask (N, P): True for the boxes that are kept.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for mask, box, score in zip(kept, boxes, scores):
        valid = (score >= 0).nonzero().flatten()
        mask[valid[torchvision.ops.nms(box[valid], score[valid], iou_threshold)[:most]]] = True
    return kept


@nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float, most: int) -> Tensor:
    return torch.empty_like(scores, dtype=torch.bool)


def onnx_translations() -> dict[Callable, Callable]:
    """The translation of :func:`nms` into standard ONNX operators, for ``torch.onnx.export``."""
    from onnxscript import opset18
    from onnxscript.onnx_types import BOOL, FLOAT

    op: Any = opset18

    def onnx_nms(boxes: FLOAT, scores: FLOAT, iou_threshold: float, most: int) -> BOOL:
        selected = op.NonMaxSuppression(  # (n, 3): image, class and box
            boxes,
            op.Unsqueeze(scores, op.Constant(value_ints=[1])),  # (N, 1 class, P)
            op.Constant(value_ints=[most]),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[-0.5]),
        )
        places = op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)  # (n, 2): image and box
        number = op.Slice(op.Shape(places), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
        ones = op.Expand(op.Constant(value_float=1.0), number)
        return op.Cast(op.ScatterND(op.Mul(scores, op.Constant(value_float=0.0)), places, ones), to=9)  # 9 is bool

    return {torch.ops.econvnext_mmdet.nms.default: onnx_nms}
