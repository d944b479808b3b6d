# YOLOv10-S with CSPDarknet, its original backbone.
_base_ = 'yolov10-s_e-convnext-mini.py'
channels = [128, 256, 512]
model = dict(
    backbone=dict(_delete_=True, type='YOLOv10CSPDarknet', arch='S'),
    neck=dict(in_channels=channels),
    bbox_head=dict(in_channels=channels),
)
