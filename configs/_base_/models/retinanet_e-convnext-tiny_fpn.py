# RetinaNet with E-ConvNeXt-tiny. RetinaNet's FPN uses strides 8, 16 and 32, so the backbone returns only these: the
# norm of an unused output would get no gradient, and distributed training refuses such parameters.
_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
custom_imports = dict(imports=['econvnext_mmdet'])
model = dict(
    backbone=dict(_delete_=True, type='EConvNeXt', arch='tiny', out_indices=(1, 2, 3)),
    neck=dict(in_channels=[256, 512, 1024], start_level=0),
)
