# A quarter of the schedule from scratch, to compare a pre-trained backbone (--pretrained) with none.
_base_ = '../bccd/retinanet_e-convnext-mini_fpn-96_16e_bccd.py'
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=0, begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True)
]
