# A Mask R-CNN that is small enough to train on a CPU from scratch: E-ConvNeXt-mini, 96 channels with GroupNorm, anchors
# and levels for objects from 16 pixels upwards, and few samples per image.
_base_ = 'mask-rcnn_e-convnext-tiny_fpn.py'
norm_cfg = dict(type='GN', num_groups=16)
strides = [4, 8, 16, 32]
model = dict(
    backbone=dict(arch='mini'),
    neck=dict(in_channels=[96, 192, 384, 768], out_channels=96, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(in_channels=96, feat_channels=96, anchor_generator=dict(scales=[4], strides=strides)),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=96, finest_scale=16),
        bbox_head=dict(in_channels=96, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=96, finest_scale=16),
        mask_head=dict(in_channels=96, conv_out_channels=96, num_convs=2, norm_cfg=norm_cfg),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)), rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=64))
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)
