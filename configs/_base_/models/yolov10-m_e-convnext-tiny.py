# YOLOv10-M with E-ConvNeXt-tiny.
_base_ = 'yolov10_e-convnext.py'
model = dict(neck=dict(arch='M', num_blocks=2))
