_base_ = 'ppyoloe-s_e-convnext-mini_36e_coco.py'
model = dict(
    backbone=dict(_delete_=True, type='PPYOLOECSPResNet', arch='S'), neck=dict(in_channels=[128, 256, 512]))
