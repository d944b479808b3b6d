# From scratch, at one size. Three of the epochs with the static assigner, about the part it has of the long recipe.
_base_ = [
    '../_base_/models/ppyoloe-s_e-convnext-mini.py', '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/adamw_8e.py', '../_base_/runtime.py'
]
model = dict(
    data_preprocessor=dict(batch_augments=None), bbox_head=dict(num_classes=3), train_cfg=dict(initial_epoch=3))
train_dataloader = dict(batch_size=2)
