# The deeper in the pre-trained backbone (--pretrained), the lower the learning rate.
_base_ = 'retinanet_e-convnext-mini_fpn-96_4e_bccd.py'
optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.8))
