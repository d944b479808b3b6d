# The small RetinaNet of retinanet_e-convnext-mini_fpn-96.py with ResNet-18, which also starts from random weights.
_base_ = 'retinanet_e-convnext-mini_fpn-96.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        out_indices=(1, 2, 3),
        norm_cfg=dict(type='BN'),
        norm_eval=False,
        style='pytorch',
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
