# PP-YOLOE-L with E-ConvNeXt-tiny. Each batch of a training has a size of its own, 320 to 768 pixels a side.
custom_imports = dict(imports=['econvnext_mmdet'])
model = dict(
    type='PPYOLOE',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_size_divisor=32,
        batch_augments=[dict(type='BatchSyncRandomResize', random_size_range=(320, 768), interval=1)]),
    backbone=dict(type='EConvNeXt', arch='tiny', out_indices=(1, 2, 3)),
    neck=dict(
        type='PPYOLOEPAFPN', in_channels=[256, 512, 1024], out_channels=[192, 384, 768], num_blocks=3),
    bbox_head=dict(type='PPYOLOEHead', num_classes=80, in_channels=[192, 384, 768]),
    train_cfg=dict(
        initial_epoch=12,
        initial_assigner=dict(type='ATSSAssigner', topk=9),
        assigner=dict(type='InsideTaskAlignedAssigner', topk=13, alpha=1., eps=1e-7)),
    test_cfg=dict(
        nms_pre=1000, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.7), max_per_img=300))
