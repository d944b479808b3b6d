_base_ = [
    '../_base_/models/mask-rcnn_e-convnext-tiny_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_1x.py',
    '../_base_/runtime.py',
]
