# RUOD (Neurocomputing 2023; on GitHub as dlut-dimt/RUOD): underwater photographs. Training uses 9,800 images,
# evaluation uses the 4,200 images of the test split. The published files are already in COCO's format:
#   data/RUOD/RUOD_ANN/instances_train.json, instances_test.json
#   data/RUOD/RUOD_pic/train/, test/
_base_ = 'coco_detection_640.py'
data_root = 'data/RUOD/'
metainfo = dict(
    classes=(
        'holothurian',
        'echinus',
        'scallop',
        'starfish',
        'fish',
        'corals',
        'diver',
        'cuttlefish',
        'turtle',
        'jellyfish',
    )
)
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='RUOD_ANN/instances_train.json',
        data_prefix=dict(img='RUOD_pic/train/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='RUOD_ANN/instances_test.json',
        data_prefix=dict(img='RUOD_pic/test/'),
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'RUOD_ANN/instances_test.json')
test_evaluator = val_evaluator
