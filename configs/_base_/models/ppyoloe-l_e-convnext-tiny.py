# PP-YOLOE-L with E-ConvNeXt-tiny.
_base_ = 'e-convnext-tiny_ms-320-768.py'
model = dict(
    type='PPYOLOE',
    neck=dict(type='PPYOLOEPAFPN', in_channels=[256, 512, 1024], out_channels=[192, 384, 768], num_blocks=3),
    bbox_head=dict(type='PPYOLOEHead', num_classes=80, in_channels=[192, 384, 768]),
    train_cfg=dict(
        initial_epoch=12,
        initial_assigner=dict(type='ATSSAssigner', topk=9),
        assigner=dict(type='InsideTaskAlignedAssigner', topk=13, alpha=1.0, eps=1e-7),
    ),
    test_cfg=dict(nms_pre=1000, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.7), max_per_img=300),
)
