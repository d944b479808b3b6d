# Blood cells (BCCD): 364 photographs of 640 x 480, scaled to 320 x 240. Training uses the train and val splits
# together. Evaluation uses the test split. tools/dataset_converters/voc2coco.py writes the annotation files. A step has
# two images, because small batches give more steps on few images.
_base_ = 'small_detection.py'
data_root = 'data/BCCD/'
metainfo = dict(classes=('Platelets', 'RBC', 'WBC'))
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline[2].update(scale=(320, 240))
train_pipeline[3].update(prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
test_pipeline[1].update(scale=(320, 240))
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/trainval.json',
        data_prefix=dict(img='JPEGImages/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/test.json',
        data_prefix=dict(img='JPEGImages/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/test.json')
test_evaluator = val_evaluator
