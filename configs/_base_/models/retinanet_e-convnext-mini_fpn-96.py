# A RetinaNet that is small enough to train on a CPU from scratch: E-ConvNeXt-mini, 96 channels with GroupNorm, two
# convolutions before each output, strides 8 to 64, anchors from 16 pixels upwards, and a GIoU loss for the boxes.
_base_ = 'retinanet_e-convnext-tiny_fpn.py'
norm_cfg = dict(type='GN', num_groups=16)
model = dict(
    backbone=dict(arch='mini'),
    neck=dict(in_channels=[192, 384, 768], out_channels=96, num_outs=4, norm_cfg=norm_cfg),
    bbox_head=dict(
        in_channels=96,
        feat_channels=96,
        stacked_convs=2,
        norm_cfg=norm_cfg,
        anchor_generator=dict(octave_base_scale=2, strides=[8, 16, 32, 64]),
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type='GIoULoss', loss_weight=2.0),
    ),
)
