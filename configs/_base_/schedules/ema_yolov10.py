# YOLOv10's average of the weights and of the BN statistics, which is evaluated and kept. At first it follows
# closely.
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')
]
