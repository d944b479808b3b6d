_base_ = [
    '../_base_/models/retinanet_e-convnext_fpn-96.py', '../_base_/datasets/shapes_detection.py',
    '../_base_/schedules/adamw_8e.py', '../_base_/runtime.py'
]
model = dict(bbox_head=dict(num_classes=4))
max_epochs = 9
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
