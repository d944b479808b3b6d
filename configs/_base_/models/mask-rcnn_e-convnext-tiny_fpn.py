# Mask R-CNN with E-ConvNeXt-tiny.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'
custom_imports = dict(imports=['econvnext_mmdet'])
model = dict(
    backbone=dict(_delete_=True, type='EConvNeXt', arch='tiny', out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
