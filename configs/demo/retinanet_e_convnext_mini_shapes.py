# The demo: RetinaNet with E-ConvNeXt-mini on synthetic shapes, 9 epochs.
_base_ = 'retinanet_e-convnext-mini_fpn-96_9e_shapes.py'
