# ResNet-18 with the recipe of E-ConvNeXt-mini, for comparison.
_base_ = 'e-convnext-mini_30e_tiny-imagenet-200.py'
model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, num_stages=4, out_indices=(3,)),
    head=dict(in_channels=512),
)
