# Evaluates and keeps an average of the weights and of the BN statistics, which the reference's recipe has not.
_base_ = 'e-convnext-small_16xb64_in1k.py'
custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')]
