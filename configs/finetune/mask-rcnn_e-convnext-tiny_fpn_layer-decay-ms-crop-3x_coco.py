# For weights from ImageNet (--pretrained): the rate falls by a twentieth with each layer downwards, as ConvNeXt
# (arXiv 2201.03545) has it for detection.
_base_ = '../mask_rcnn/mask-rcnn_e-convnext-tiny_fpn_ms-crop-3x_coco.py'
optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.95))
