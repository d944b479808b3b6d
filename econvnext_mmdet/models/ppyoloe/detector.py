"""The detector PP-YOLOE."""

from mmdet.models import SingleStageDetector
from mmdet.registry import MODELS


@MODELS.register_module()
class PPYOLOE(SingleStageDetector):
    """PP-YOLOE (arXiv 2203.16250). Its arguments are those of MMDetection's ``SingleStageDetector``."""
