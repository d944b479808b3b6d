# An average of the weights and of the BN statistics, which is evaluated and kept.
custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')]
