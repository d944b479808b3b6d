# YOLOv10-L with E-ConvNeXt-tiny. Each batch of a training has a size of its own, 320 to 768 pixels a side. Without
# NMS: the most of a level, then the best of all.
custom_imports = dict(imports=['econvnext_mmdet'])
channels = [256, 512, 1024]
overlap = dict(type='CIoUOverlaps2D')
model = dict(
    type='YOLOv10',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_size_divisor=32,
        batch_augments=[dict(type='BatchSyncRandomResize', random_size_range=(320, 768), interval=1)]),
    backbone=dict(type='EConvNeXt', arch='tiny', out_indices=(1, 2, 3)),
    neck=dict(type='YOLOv10PAFPN', arch='L', in_channels=channels, num_blocks=3),
    bbox_head=dict(type='YOLOv10Head', num_classes=80, in_channels=channels),
    train_cfg=dict(
        one_to_many=dict(type='InsideTaskAlignedAssigner', topk=10, alpha=0.5, iou_calculator=overlap),
        one_to_one=dict(type='InsideTaskAlignedAssigner', topk=1, alpha=0.5, iou_calculator=overlap)),
    test_cfg=dict(nms_pre=300, score_thr=0.001, max_per_img=300))
