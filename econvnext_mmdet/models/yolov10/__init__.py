from .ciou_loss import CompleteIoULoss
from .csp_darknet import YOLOv10CSPDarknet
from .detector import YOLOv10
from .head import YOLOv10Head
from .pafpn import YOLOv10PAFPN

__all__ = ['CompleteIoULoss', 'YOLOv10', 'YOLOv10CSPDarknet', 'YOLOv10Head', 'YOLOv10PAFPN']
