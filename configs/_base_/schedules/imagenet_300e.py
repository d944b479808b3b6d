# The reference's 300 epochs: AdamW, learning rate 1e-3 for 1024 images per step, 20 epochs of warm-up, cosine to 1e-6.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=20, end=300, convert_to_iter_based=True),
]
