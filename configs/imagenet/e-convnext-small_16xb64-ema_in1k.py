# With an exponential moving average (EMA) of the weights, which the reference implementation does not use.
_base_ = ['e-convnext-small_16xb64_in1k.py', '../_base_/schedules/ema.py']
