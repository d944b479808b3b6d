# PP-YOLOE-S with CSPResNet, its original backbone, on COCO.
_base_ = [
    '../_base_/models/ppyoloe-s_cspresnet.py',
    '../_base_/datasets/coco_detection_640.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_ppyoloe.py',
    '../_base_/runtime.py',
]
