# PP-YOLOE-S with CSPResNet, its original backbone.
_base_ = 'ppyoloe-s_e-convnext-mini.py'
model = dict(backbone=dict(_delete_=True, type='PPYOLOECSPResNet', arch='S'), neck=dict(in_channels=[128, 256, 512]))
