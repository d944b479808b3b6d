# With an average of the weights, which the reference's recipe does not have.
_base_ = ['e-convnext-small_16xb64_in1k.py', '../_base_/schedules/ema.py']
