# PP-YOLOE-L with E-ConvNeXt-small on COCO.
_base_ = 'ppyoloe-l_e-convnext-tiny_36e_coco.py'
model = dict(backbone=dict(arch='small'))
