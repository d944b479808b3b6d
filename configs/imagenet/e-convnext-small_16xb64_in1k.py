_base_ = 'e-convnext-tiny_16xb64_in1k.py'
model = dict(backbone=dict(arch='small'))
