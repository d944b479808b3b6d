# A third of the demo's schedule, to compare a pre-trained backbone (--pretrained) with a start from scratch.
_base_ = '../demo/retinanet_e-convnext-mini_fpn-96_9e_shapes.py'
max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs)
