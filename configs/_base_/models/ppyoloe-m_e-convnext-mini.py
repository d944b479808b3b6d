# PP-YOLOE-M with E-ConvNeXt-mini.
_base_ = 'ppyoloe-l_e-convnext-tiny.py'
channels = [144, 288, 576]
model = dict(
    backbone=dict(arch='mini'),
    neck=dict(in_channels=[192, 384, 768], out_channels=channels, num_blocks=2),
    bbox_head=dict(in_channels=channels),
)
