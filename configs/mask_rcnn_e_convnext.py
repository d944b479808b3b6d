# Mask R-CNN, FPN, E-ConvNeXt-tiny, COCO, 1x: boxes and masks.
_base_ = 'mask_rcnn/mask-rcnn_e-convnext-tiny_fpn_1x_coco.py'
