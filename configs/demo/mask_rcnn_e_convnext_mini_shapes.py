# Boxes and masks of the synthetic shapes from scratch.
_base_ = [
    '../_base_/models/mask-rcnn_e-convnext_fpn-96.py', '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/adamw_1x.py', '../_base_/runtime.py'
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=4), mask_head=dict(num_classes=4)))
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True))
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
