"""The activation of PP-YOLOE and YOLOv10."""

# As the act_cfg of MMCV's ConvModule.
ACT = dict(type='SiLU', inplace=True)
