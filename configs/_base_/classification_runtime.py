# MMPretrain's runtime; keeps the last checkpoints and the best one, and loads no checkpoint of another model. The
# processes of a training have BN statistics of their own, which are averaged before they are evaluated and saved.
_base_ = 'mmpretrain::_base_/default_runtime.py'
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=2, save_best='auto'), strict_load=dict(type='StrictLoadHook'),
    sync_buffers=dict(type='SyncAllBuffersHook'), visualization=dict(type='RGBVisualizationHook', resize=320))
