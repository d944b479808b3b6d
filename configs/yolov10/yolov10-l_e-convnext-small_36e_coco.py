# YOLOv10-L with E-ConvNeXt-small on COCO.
_base_ = 'yolov10-l_e-convnext-tiny_36e_coco.py'
model = dict(backbone=dict(arch='small'))
