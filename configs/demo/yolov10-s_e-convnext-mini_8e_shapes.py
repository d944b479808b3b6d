# From scratch on the synthetic shapes, by the schedule of the comparison on blood cells.
_base_ = [
    '../_base_/models/yolov10-s_e-convnext-mini.py', '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/adamw_8e.py', '../_base_/runtime.py'
]
model = dict(data_preprocessor=dict(batch_augments=None), bbox_head=dict(num_classes=4))
auto_scale_lr = dict(base_batch_size=4)
