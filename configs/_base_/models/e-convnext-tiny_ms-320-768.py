# E-ConvNeXt-tiny for detectors of strides 8, 16 and 32, and images for it: each batch of a training has a size of its
# own, 320 to 768 pixels a side.
custom_imports = dict(imports=['econvnext_mmdet'])
model = dict(
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_size_divisor=32,
        batch_augments=[dict(type='BatchSyncRandomResize', random_size_range=(320, 768), interval=1)]),
    backbone=dict(type='EConvNeXt', arch='tiny', out_indices=(1, 2, 3)))
