# The same with its own backbone.
_base_ = 'ppyoloe-l_e-convnext-tiny_36e_sonar.py'
model = dict(backbone=dict(_delete_=True, type='PPYOLOECSPResNet', arch='L'))
