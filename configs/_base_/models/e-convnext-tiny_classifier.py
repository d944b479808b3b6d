# E-ConvNeXt-tiny as a classifier of MMPretrain. A BatchNorm follows the pooling, before the linear layer.
custom_imports = dict(imports=['econvnext_mmdet'])
model = dict(
    type='ImageClassifier',
    backbone=dict(type='EConvNeXt', arch='tiny', out_indices=(3,), norm_output=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='BNLinearClsHead',
        num_classes=1000,
        in_channels=1024,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
