# The schedule of adamw_8e.py, twice as long.
_base_ = 'adamw_8e.py'
max_epochs = 16
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs)
