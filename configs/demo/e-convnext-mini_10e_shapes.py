# Pre-training on a CPU: E-ConvNeXt-mini classifies synthetic shapes, one per image.
_base_ = [
    '../_base_/models/e-convnext-tiny_classifier.py',
    '../_base_/datasets/shapes_classification.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/classification_runtime.py',
]
# Mixup and CutMix are left out, because in so few epochs they do more harm than good.
model = dict(backbone=dict(arch='mini'), head=dict(num_classes=16, in_channels=768), train_cfg=None)
max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(fused=True))
auto_scale_lr = dict(base_batch_size=32)
randomness = dict(seed=0)
