# PP-YOLOE-L with CSPResNet, its original backbone.
_base_ = 'ppyoloe-l_e-convnext-tiny.py'
model = dict(backbone=dict(_delete_=True, type='PPYOLOECSPResNet', arch='L'))
