# PP-YOLOE-S with E-ConvNeXt-mini.
_base_ = 'ppyoloe-l_e-convnext-tiny.py'
channels = [96, 192, 384]
model = dict(
    backbone=dict(arch='mini'),
    neck=dict(in_channels=[192, 384, 768], out_channels=channels, num_blocks=1),
    bbox_head=dict(in_channels=channels),
)
