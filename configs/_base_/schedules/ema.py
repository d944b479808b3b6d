# An average of the weights and of the BatchNorm statistics. It is what is evaluated and saved.
custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')]
