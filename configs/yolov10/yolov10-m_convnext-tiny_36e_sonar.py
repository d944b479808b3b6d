# YOLOv10-M with MMPretrain's ConvNeXt-tiny on sonar images. The paper's table has this detector.
_base_ = 'yolov10-m_e-convnext-tiny_36e_sonar.py'
channels = [192, 384, 768]
model = dict(
    backbone=dict(
        _delete_=True, type='mmpretrain.ConvNeXt', arch='tiny', out_indices=(1, 2, 3), gap_before_final_norm=False
    ),
    neck=dict(in_channels=channels),
    bbox_head=dict(in_channels=channels),
)
