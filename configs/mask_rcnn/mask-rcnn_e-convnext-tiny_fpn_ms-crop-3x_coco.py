_base_ = [
    '../_base_/models/mask-rcnn_e-convnext_fpn.py', '../_base_/datasets/coco-instance_ms-crop.py',
    '../_base_/schedules/adamw_3x.py', '../_base_/runtime.py'
]
