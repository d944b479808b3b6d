# A small Mask R-CNN with E-ConvNeXt-mini on the synthetic shapes, from scratch: boxes and masks.
_base_ = [
    '../_base_/models/mask-rcnn_e-convnext-mini_fpn-96.py',
    '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/adamw_8e.py',
    '../_base_/runtime.py',
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=4), mask_head=dict(num_classes=4)))
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
