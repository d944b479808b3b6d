_base_ = [
    '../_base_/models/retinanet_e-convnext-tiny_fpn.py',
    '../_base_/datasets/coco_detection_ms-640-800.py',
    '../_base_/schedules/adamw_3x.py',
    '../_base_/runtime.py',
    'mmdet::retinanet/retinanet_tta.py',
]
