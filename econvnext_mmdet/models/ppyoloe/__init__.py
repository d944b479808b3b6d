# Configs name the assigner, so importing the detector registers it.
from ..common.assigner import InsideTaskAlignedAssigner
from .cspresnet import PPYOLOECSPResNet
from .detector import PPYOLOE
from .head import PPYOLOEHead
from .pafpn import PPYOLOEPAFPN

__all__ = ['InsideTaskAlignedAssigner', 'PPYOLOE', 'PPYOLOECSPResNet', 'PPYOLOEHead', 'PPYOLOEPAFPN']
