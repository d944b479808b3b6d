# The same with its own backbone.
_base_ = 'yolov10-s_e-convnext-mini_8e_shapes.py'
channels = [128, 256, 512]
model = dict(
    backbone=dict(_delete_=True, type='YOLOv10CSPDarknet', arch='S'), neck=dict(in_channels=channels),
    bbox_head=dict(in_channels=channels))
