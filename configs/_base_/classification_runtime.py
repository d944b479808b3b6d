# MMPretrain's runtime with additions: it keeps the last two checkpoints and the best one, and refuses a checkpoint of
# a different model. In training with several processes, the BatchNorm statistics are averaged before evaluation and
# saving. Pictures of classified images have the colours of the images.
_base_ = 'mmpretrain::_base_/default_runtime.py'
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=2, save_best='auto'),
    strict_load=dict(type='StrictLoadHook'),
    sync_buffers=dict(type='SyncAllBuffersHook'),
    visualization=dict(type='RGBVisualizationHook', resize=320),
)
