# Blood cells (BCCD): 364 photographs of 640 x 480, here at 320 x 240. Trains on its splits train and val
# together and evaluates on its test split; tools/dataset_converters/voc2coco.py writes the files.
_base_ = 'coco_detection.py'
data_root = 'data/BCCD/'
metainfo = dict(classes=('Platelets', 'RBC', 'WBC'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(320, 240), keep_ratio=True, interpolation='area'),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(320, 240), keep_ratio=True, interpolation='area'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    batch_size=4, num_workers=1,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, ann_file='annotations/trainval.json',
        data_prefix=dict(img='JPEGImages/'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=1,
    dataset=dict(
        data_root=data_root, metainfo=metainfo, ann_file='annotations/test.json',
        data_prefix=dict(img='JPEGImages/'), pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/test.json')
test_evaluator = val_evaluator
