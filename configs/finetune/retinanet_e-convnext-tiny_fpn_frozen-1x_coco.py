# For weights from ImageNet (--pretrained). The stem and the first stage do not change, and all BatchNorms of the
# backbone keep their statistics, except for output norms that the weights lack. MMDetection freezes ResNet in the same
# way.
_base_ = '../retinanet/retinanet_e-convnext-tiny_fpn_1x_coco.py'
model = dict(backbone=dict(frozen_stages=1, norm_eval=True))
