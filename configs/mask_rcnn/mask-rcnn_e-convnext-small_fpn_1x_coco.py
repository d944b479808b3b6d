_base_ = 'mask-rcnn_e-convnext-tiny_fpn_1x_coco.py'
model = dict(backbone=dict(arch='small'))
