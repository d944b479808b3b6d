# PP-YOLOE-M with CSPResNet, its original backbone.
_base_ = 'ppyoloe-m_e-convnext-mini.py'
model = dict(backbone=dict(_delete_=True, type='PPYOLOECSPResNet', arch='M'), neck=dict(in_channels=[192, 384, 768]))
