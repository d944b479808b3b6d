# YOLOv10-M with E-ConvNeXt-tiny.
_base_ = 'yolov10-l_e-convnext-tiny.py'
model = dict(neck=dict(arch='M', num_blocks=2))
