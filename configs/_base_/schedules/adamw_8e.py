# Eight epochs on a few hundred images, to compare detectors that are trained from scratch on a CPU. The learning rate
# is for two images per step, as in the configs on BCCD: small batches give more steps on few images. Evaluation
# runs once, after the last epoch, because BCCD is evaluated on its test split. Other short schedules inherit from this
# one.
_base_ = 'adamw_1x.py'
max_epochs = 8
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=7e-4, fused=True))
auto_scale_lr = dict(base_batch_size=2)
randomness = dict(seed=0)
