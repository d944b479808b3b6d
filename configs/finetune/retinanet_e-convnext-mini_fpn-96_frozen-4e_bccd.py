# For a pre-trained backbone (--pretrained). The stem and the first stage do not change, and all BatchNorms of the
# backbone keep their statistics, except for output norms that the weights lack.
_base_ = 'retinanet_e-convnext-mini_fpn-96_4e_bccd.py'
model = dict(backbone=dict(frozen_stages=1, norm_eval=True))
