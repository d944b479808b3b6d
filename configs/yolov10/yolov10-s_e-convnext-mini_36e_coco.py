# YOLOv10-S with E-ConvNeXt-mini on COCO.
_base_ = [
    '../_base_/models/yolov10-s_e-convnext-mini.py',
    '../_base_/datasets/coco_detection_640.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_yolov10.py',
    '../_base_/runtime.py',
]
