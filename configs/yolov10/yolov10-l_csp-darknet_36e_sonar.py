# The paper's YOLOv10-L with its own backbone on sonar.
_base_ = [
    '../_base_/models/yolov10_e-convnext.py', '../_base_/datasets/sonar_detection.py',
    '../_base_/schedules/adamw_36e.py', '../_base_/schedules/ema_yolov10.py', '../_base_/runtime.py'
]
channels = [256, 512, 512]
model = dict(
    backbone=dict(_delete_=True, type='YOLOv10CSPDarknet', arch='L'), neck=dict(in_channels=channels),
    bbox_head=dict(num_classes=8, in_channels=channels))
