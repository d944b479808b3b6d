# Mask R-CNN with E-ConvNeXt-tiny and FPN on COCO, 1x schedule: boxes and masks.
_base_ = 'mask_rcnn/mask-rcnn_e-convnext-tiny_fpn_1x_coco.py'
