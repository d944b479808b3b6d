# The schedule of the reference implementation, scaled to 1024 images per step: 300 epochs of AdamW with learning rate
# 1e-3 (the reference has 2.5e-4 for 4 GPUs x 64 images), a warm-up of 20 epochs, and a cosine decay to 1e-6.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=20, end=300, convert_to_iter_based=True),
]
