# The schedule of the other detectors here.
_base_ = [
    '../_base_/models/retinanet_e-convnext_fpn-96.py', '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/adamw_8e.py', '../_base_/runtime.py'
]
model = dict(bbox_head=dict(num_classes=3))
train_dataloader = dict(batch_size=2)
