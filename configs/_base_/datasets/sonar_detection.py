# Forward-looking sonar (the Peng Cheng Laboratory's contest; on GitHub as violetweir/Sonor_dataset): 4,000 labelled
# images, three equal channels of raw echo strength. Put them and their XML at
#   data/sonar/images/*.bmp
#   data/sonar/xml/*.xml
# and tools/dataset_converters/sonar2coco.py data/sonar writes annotations/train.json and val.json: no labels of a test
# split are public.
_base_ = 'coco_detection_640.py'
data_root = 'data/sonar/'
metainfo = dict(
    classes=('ball', 'circle cage', 'cube', 'cylinder', 'human body', 'metal bucket', 'square cage', 'tyre'))
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(mean=[0, 0, 0])  # what Expand adds is as black as the water
train_dataloader = dict(
    dataset=dict(
        pipeline=train_pipeline,
        data_root=data_root, metainfo=metainfo, ann_file='annotations/train.json',
        data_prefix=dict(img='images/')))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, metainfo=metainfo, ann_file='annotations/val.json',
        data_prefix=dict(img='images/')))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
