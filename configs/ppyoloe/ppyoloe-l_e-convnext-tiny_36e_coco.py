# PP-YOLOE-L with E-ConvNeXt-tiny on COCO.
_base_ = [
    '../_base_/models/ppyoloe-l_e-convnext-tiny.py',
    '../_base_/datasets/coco_detection_640.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_ppyoloe.py',
    '../_base_/runtime.py',
]
