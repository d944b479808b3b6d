# Evaluates and keeps an average of the weights, as ConvNeXt's recipe does; the reference's has none.
_base_ = 'e-convnext-small_16xb64_in1k.py'
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
