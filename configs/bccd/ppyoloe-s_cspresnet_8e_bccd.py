# PP-YOLOE-S with CSPResNet on blood cells, from scratch, with images of one size. ATSS assigns the boxes in the first 3
# epochs. This is about the same share as in the 36-epoch recipe, where ATSS assigns them for 12 epochs.
_base_ = [
    '../_base_/models/ppyoloe-s_cspresnet.py',
    '../_base_/datasets/bccd_detection.py',
    '../_base_/schedules/adamw_8e.py',
    '../_base_/runtime.py',
]
model = dict(
    data_preprocessor=dict(batch_augments=None), bbox_head=dict(num_classes=3), train_cfg=dict(initial_epoch=3)
)
