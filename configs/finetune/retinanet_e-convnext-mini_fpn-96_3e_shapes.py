# A third of the demo's schedule, to compare a pre-trained backbone (--pretrained) with a start from scratch.
_base_ = '../demo/retinanet_e_convnext_mini_shapes.py'
max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]
