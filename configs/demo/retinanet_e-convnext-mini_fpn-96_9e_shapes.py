# The demo: a small RetinaNet with E-ConvNeXt-mini on the synthetic shapes, from scratch.
_base_ = 'retinanet_e-convnext-mini_fpn-96_8e_shapes.py'
max_epochs = 9
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
