# YOLOv10-L with E-ConvNeXt-tiny on DUO, underwater photographs. The paper's table has this detector.
_base_ = [
    '../_base_/models/yolov10-l_e-convnext-tiny.py',
    '../_base_/datasets/duo_detection.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_yolov10.py',
    '../_base_/runtime.py',
]
model = dict(bbox_head=dict(num_classes=4))
