"""The detector YOLOv10."""

from mmdet.models import SingleStageDetector
from mmdet.registry import MODELS


@MODELS.register_module()
class YOLOv10(SingleStageDetector):
    """YOLOv10 (arXiv 2405.14458). Its arguments are those of MMDetection's ``SingleStageDetector``."""
