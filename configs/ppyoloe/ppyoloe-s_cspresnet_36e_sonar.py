# PP-YOLOE-S with CSPResNet, its original backbone, on sonar images. The paper's table has this detector.
_base_ = [
    '../_base_/models/ppyoloe-s_cspresnet.py',
    '../_base_/datasets/sonar_detection.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/schedules/ema_ppyoloe.py',
    '../_base_/runtime.py',
]
model = dict(bbox_head=dict(num_classes=8))
