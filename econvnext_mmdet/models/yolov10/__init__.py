# Configs name the assigner, its overlap and the loss, so importing the detector registers them.
from ..common.assigner import InsideTaskAlignedAssigner
from ..common.complete_iou import CIoUOverlaps2D, CompleteIoULoss
from .csp_darknet import YOLOv10CSPDarknet
from .detector import YOLOv10
from .head import YOLOv10Head
from .pafpn import YOLOv10PAFPN

__all__ = [
    'CIoUOverlaps2D',
    'CompleteIoULoss',
    'InsideTaskAlignedAssigner',
    'YOLOv10',
    'YOLOv10CSPDarknet',
    'YOLOv10Head',
    'YOLOv10PAFPN',
]
