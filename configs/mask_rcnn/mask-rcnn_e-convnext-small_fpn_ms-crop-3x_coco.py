_base_ = 'mask-rcnn_e-convnext-tiny_fpn_ms-crop-3x_coco.py'
model = dict(backbone=dict(arch='small'))
