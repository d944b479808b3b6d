# RetinaNet with E-ConvNeXt-tiny and FPN on COCO, 1x schedule. Start here.
_base_ = 'retinanet/retinanet_e-convnext-tiny_fpn_1x_coco.py'
