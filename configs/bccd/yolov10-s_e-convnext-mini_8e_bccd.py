# From scratch, at one size.
_base_ = [
    '../_base_/models/yolov10-s_e-convnext-mini.py', '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/adamw_8e.py', '../_base_/runtime.py'
]
model = dict(data_preprocessor=dict(batch_augments=None), bbox_head=dict(num_classes=3))
train_dataloader = dict(batch_size=2)
