# YOLOv10's exponential moving average (EMA) of the weights and of the BatchNorm statistics. Evaluation uses it, and
# checkpoints hold it. In the first steps it follows the weights closely.
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=1e-4, update_buffers=True, priority='ABOVE_NORMAL')
]
