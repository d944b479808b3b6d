# PP-YOLOE-M with E-ConvNeXt-mini on COCO.
_base_ = [
    '../_base_/models/ppyoloe-m_e-convnext-mini.py',
    '../_base_/datasets/coco_detection_640.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_ppyoloe.py',
    '../_base_/runtime.py',
]
