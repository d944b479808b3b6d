# YOLOv10-S with E-ConvNeXt-mini.
_base_ = 'yolov10-l_e-convnext-tiny.py'
channels = [192, 384, 768]
model = dict(
    backbone=dict(arch='mini'),
    neck=dict(arch='S', in_channels=channels, num_blocks=1),
    bbox_head=dict(in_channels=channels),
)
