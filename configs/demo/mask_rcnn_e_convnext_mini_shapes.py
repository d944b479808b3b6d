# Mask R-CNN with E-ConvNeXt-mini on the synthetic shapes, 6 epochs: boxes and masks.
_base_ = 'mask-rcnn_e-convnext-mini_fpn-96_6e_shapes.py'
