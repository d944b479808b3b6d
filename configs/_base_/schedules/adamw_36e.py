# The schedule of the reference implementation for PP-YOLOE and YOLOv10: 36 epochs of AdamW with learning rate 2e-4 for
# 4 images per device and weight decay 5e-4. The reference does not give the number of devices. This config assumes 4,
# the number of GPUs in the reference's command for ImageNet. The warm-up, the cosine decay, gradient clipping, and no
# weight decay for norms and biases are additions of this package. All detectors of this package use gradient clipping
# and no weight decay for norms and biases.
_base_ = 'adamw_1x.py'
max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=5e-4))
auto_scale_lr = dict(base_batch_size=16)
