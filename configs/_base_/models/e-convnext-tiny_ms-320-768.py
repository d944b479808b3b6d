# E-ConvNeXt-tiny for detectors with strides 8, 16 and 32, and the preprocessor of their images. In training, each batch
# gets a random size from 320 to 768 pixels.
custom_imports = dict(imports=['econvnext_mmdet'])
model = dict(
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        batch_augments=[dict(type='BatchSyncRandomResize', random_size_range=(320, 768), interval=1)],
    ),
    backbone=dict(type='EConvNeXt', arch='tiny', out_indices=(1, 2, 3)),
)
