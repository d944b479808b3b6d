# RetinaNet with E-ConvNeXt-tiny. RetinaNet's FPN uses strides 8 to 32 only, so the backbone returns no more:
# a norm on an unused output would get no gradient, which distributed training refuses.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
custom_imports = dict(imports=['econvnext_mmdet'])
model = dict(
    backbone=dict(_delete_=True, type='EConvNeXt', arch='tiny', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[256, 512, 1024], start_level=0))
