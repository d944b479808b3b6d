# For a pre-trained backbone (--pretrained). The learning rate falls from the head to the stem, by 20 % per layer.
_base_ = 'retinanet_e-convnext-mini_fpn-96_4e_bccd.py'
optim_wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.8))
