# YOLOv10-S with CSPDarknet, its original backbone, on COCO.
_base_ = [
    '../_base_/models/yolov10-s_csp-darknet.py',
    '../_base_/datasets/coco_detection_640.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_yolov10.py',
    '../_base_/runtime.py',
]
