"""COCO's twelve metrics, in COCO's order."""

from typing import NamedTuple


class Stat(NamedTuple):
    """One of the twelve metrics.

    Attributes:
        mmdet_name: MMDetection's name for it.
        meaning: Its meaning in a few words, for tables.
    """

    mmdet_name: str
    meaning: str


# Small objects have an area of at most 32^2 pixels, medium ones of 32^2 to 96^2, and large ones of at least 96^2: an
# object of exactly 32^2 or 96^2 pixels counts in both sizes. The limits of detections apply to each class of each
# image. The recall by size allows 100 detections.
COCO_STATS = dict(
    AP=Stat('mAP', 'precision, IoU 0.50:0.95'),
    AP50=Stat('mAP_50', 'precision, IoU 0.50'),
    AP75=Stat('mAP_75', 'precision, IoU 0.75'),
    APs=Stat('mAP_s', 'precision, small'),
    APm=Stat('mAP_m', 'precision, medium'),
    APl=Stat('mAP_l', 'precision, large'),
    AR1=Stat('AR@1', 'recall, 1 detection per image'),
    AR10=Stat('AR@10', 'recall, 10 detections'),
    AR100=Stat('AR@100', 'recall, 100 detections'),
    ARs=Stat('AR_s@100', 'recall, small'),
    ARm=Stat('AR_m@100', 'recall, medium'),
    ARl=Stat('AR_l@100', 'recall, large'),
)
PRECISION_STATS = tuple(COCO_STATS)[:6]
# The numbers of a single class. Its AR allows 100 detections in each image.
CLASS_STATS = (*PRECISION_STATS, 'AR')
