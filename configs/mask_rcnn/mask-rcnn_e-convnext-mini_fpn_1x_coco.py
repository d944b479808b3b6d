_base_ = 'mask-rcnn_e-convnext-tiny_fpn_1x_coco.py'
model = dict(backbone=dict(arch='mini'), neck=dict(in_channels=[96, 192, 384, 768]))
