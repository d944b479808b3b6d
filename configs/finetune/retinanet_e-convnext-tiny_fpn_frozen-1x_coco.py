# For weights from ImageNet (--pretrained): stem, first stage and the statistics of all BNs, but those of output norms
# that the weights lack, stay as they are, as MMDetection has it for ResNet.
_base_ = '../retinanet/retinanet_e-convnext-tiny_fpn_1x_coco.py'
model = dict(backbone=dict(frozen_stages=1, norm_eval=True))
