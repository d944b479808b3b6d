# RetinaNet, FPN, E-ConvNeXt-tiny, COCO, 1x: start here.
_base_ = 'retinanet/retinanet_e-convnext-tiny_fpn_1x_coco.py'
