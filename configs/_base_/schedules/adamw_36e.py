# The reference's 36 epochs for PP-YOLOE and YOLOv10: AdamW with learning rate 2e-4 for 4 images per device and weight
# decay 5e-4. The reference does not say how many devices: 4 are assumed, as in its ImageNet recipe. Our additions are
# the warm-up, the cosine, gradient clipping, and no decay of norms and biases. All detectors here have the last two.
_base_ = 'adamw_1x.py'
max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=5e-4))
auto_scale_lr = dict(base_batch_size=16)
