# The same with its own backbone.
_base_ = 'ppyoloe-s_e-convnext-mini_8e_shapes.py'
model = dict(
    backbone=dict(_delete_=True, type='PPYOLOECSPResNet', arch='S'), neck=dict(in_channels=[128, 256, 512]))
