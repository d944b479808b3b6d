# For weights from ImageNet (--pretrained). The learning rate falls from the head to the stem, by 5 % per layer, as in
# the detectors of ConvNeXt (arXiv 2201.03545).
_base_ = '../mask_rcnn/mask-rcnn_e-convnext-tiny_fpn_ms-crop-3x_coco.py'
optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.95))
