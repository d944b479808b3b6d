# YOLOv10-S with CSPDarknet on blood cells, from scratch, with images of one size.
_base_ = [
    '../_base_/models/yolov10-s_csp-darknet.py',
    '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/adamw_8e.py',
    '../_base_/runtime.py',
]
model = dict(data_preprocessor=dict(batch_augments=None), bbox_head=dict(num_classes=3))
