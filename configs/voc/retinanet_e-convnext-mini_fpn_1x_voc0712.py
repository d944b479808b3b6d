# RetinaNet with E-ConvNeXt-mini on Pascal VOC. As in MMDetection's own configs, 4 epochs with each image three times
# are the 12 epochs of the 1x schedule, and the learning rate falls after three quarters of them.
_base_ = [
    '../_base_/models/retinanet_e-convnext-tiny_fpn.py',
    '../_base_/datasets/voc0712.py',
    '../_base_/schedules/adamw_1x.py',
    '../_base_/runtime.py',
]
max_epochs = 4
model = dict(backbone=dict(arch='mini'), neck=dict(in_channels=[192, 384, 768]), bbox_head=dict(num_classes=20))
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs, milestones=[3])
