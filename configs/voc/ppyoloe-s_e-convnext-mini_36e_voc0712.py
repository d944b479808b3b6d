# PP-YOLOE-S with E-ConvNeXt-mini on Pascal VOC.
_base_ = [
    '../_base_/models/ppyoloe-s_e-convnext-mini.py',
    '../_base_/datasets/voc0712_640.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_ppyoloe.py',
    '../_base_/runtime.py',
]
model = dict(bbox_head=dict(num_classes=20))
