_base_ = 'retinanet_e-convnext-tiny_fpn_ms-640-800-3x_coco.py'
model = dict(backbone=dict(arch='small'))
