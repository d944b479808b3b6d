_base_ = 'e-convnext-tiny_16xb64_in1k.py'
model = dict(backbone=dict(arch='mini'), head=dict(in_channels=768))
