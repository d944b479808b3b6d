# Stem and first stage stay as they were pre-trained (--pretrained), and so do the statistics of all BNs but
# those of output norms that the weights lack.
_base_ = 'retinanet_e-convnext-mini_fpn-96_4e_bccd.py'
model = dict(backbone=dict(frozen_stages=1, norm_eval=True))
