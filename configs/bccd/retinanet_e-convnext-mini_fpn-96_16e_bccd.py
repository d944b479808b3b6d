# A small RetinaNet with E-ConvNeXt-mini on blood cells, from scratch.
_base_ = [
    '../_base_/models/retinanet_e-convnext-mini_fpn-96.py',
    '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/adamw_16e.py',
    '../_base_/runtime.py',
]
model = dict(bbox_head=dict(num_classes=3))
