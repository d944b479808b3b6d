# DUO (arXiv 2106.05681; on GitHub as chongweiliu/DUO): underwater photographs. Training uses 6,671 images, evaluation
# uses the 1,111 images of the test split. The published files are already in COCO's format:
#   data/DUO/annotations/instances_train.json, instances_test.json
#   data/DUO/images/train/, test/
_base_ = 'coco_detection_640.py'
data_root = 'data/DUO/'
metainfo = dict(classes=('holothurian', 'echinus', 'scallop', 'starfish'))
train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='images/train/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/instances_test.json',
        data_prefix=dict(img='images/test/'),
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_test.json')
test_evaluator = val_evaluator
