# Pre-training on a CPU with photographs: E-ConvNeXt-mini on Tiny ImageNet.
_base_ = [
    '../_base_/models/e-convnext-tiny_classifier.py',
    '../_base_/datasets/tiny_imagenet_classification.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/classification_runtime.py',
]
# Mixup and CutMix are left out: they are for long schedules.
model = dict(backbone=dict(arch='mini'), head=dict(num_classes=200, in_channels=768), train_cfg=None)
max_epochs = 30
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, begin=1, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3, fused=True))
custom_hooks = [dict(type='ChannelsLastHook')]
auto_scale_lr = dict(base_batch_size=128)
randomness = dict(seed=0)
