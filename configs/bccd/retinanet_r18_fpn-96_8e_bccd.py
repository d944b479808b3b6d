# A small RetinaNet with ResNet-18 on blood cells, from scratch.
_base_ = [
    '../_base_/models/retinanet_r18_fpn-96.py',
    '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/adamw_8e.py',
    '../_base_/runtime.py',
]
model = dict(bbox_head=dict(num_classes=3))
