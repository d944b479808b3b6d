# YOLOv10-L with CSPDarknet, its original backbone.
_base_ = 'yolov10-l_e-convnext-tiny.py'
channels = [256, 512, 512]
model = dict(
    backbone=dict(_delete_=True, type='YOLOv10CSPDarknet', arch='L'),
    neck=dict(in_channels=channels),
    bbox_head=dict(in_channels=channels),
)
