# YOLOv10-L with E-ConvNeXt-tiny. There is no NMS. The best detections of each level are kept (nms_pre), then the best
# detections of all levels (max_per_img).
_base_ = 'e-convnext-tiny_ms-320-768.py'
channels = [256, 512, 1024]
overlap = dict(type='CIoUOverlaps2D')
model = dict(
    type='YOLOv10',
    neck=dict(type='YOLOv10PAFPN', arch='L', in_channels=channels, num_blocks=3),
    bbox_head=dict(type='YOLOv10Head', num_classes=80, in_channels=channels),
    train_cfg=dict(
        one_to_many=dict(type='InsideTaskAlignedAssigner', topk=10, alpha=0.5, iou_calculator=overlap),
        one_to_one=dict(type='InsideTaskAlignedAssigner', topk=1, alpha=0.5, iou_calculator=overlap),
    ),
    test_cfg=dict(nms_pre=300, score_thr=0.001, max_per_img=300),
)
