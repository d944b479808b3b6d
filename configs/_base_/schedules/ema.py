# An exponential moving average (EMA) of the weights and of the BatchNorm statistics. Evaluation uses it, and
# checkpoints hold it.
custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')]
