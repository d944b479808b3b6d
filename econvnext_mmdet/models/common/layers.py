"""A setting that the layers of PP-YOLOE and YOLOv10 share."""

# The activation of both detectors, as the act_cfg of MMCV's ConvModule.
ACT = dict(type='SiLU', inplace=True)
