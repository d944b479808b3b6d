# YOLOv10-M with CSPDarknet, its original backbone.
_base_ = 'yolov10-m_e-convnext-tiny.py'
channels = [192, 384, 576]
model = dict(
    backbone=dict(_delete_=True, type='YOLOv10CSPDarknet', arch='M'),
    neck=dict(in_channels=channels),
    bbox_head=dict(in_channels=channels),
)
