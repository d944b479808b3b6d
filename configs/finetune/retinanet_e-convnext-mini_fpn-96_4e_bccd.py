# A quarter of the schedule on blood cells, to compare a pre-trained backbone (--pretrained) with a start from scratch.
_base_ = '../bccd/retinanet_e-convnext-mini_fpn-96_16e_bccd.py'
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs)
