from .cspresnet import PPYOLOECSPResNet
from .detector import PPYOLOE
from .head import PPYOLOEHead
from .pafpn import PPYOLOEPAFPN

__all__ = ['PPYOLOE', 'PPYOLOECSPResNet', 'PPYOLOEHead', 'PPYOLOEPAFPN']
