# YOLOv10-L with CSPDarknet, its original backbone, on sonar images. The paper's table has this detector.
_base_ = [
    '../_base_/models/yolov10-l_csp-darknet.py',
    '../_base_/datasets/sonar_detection.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_yolov10.py',
    '../_base_/runtime.py',
]
model = dict(bbox_head=dict(num_classes=8))
