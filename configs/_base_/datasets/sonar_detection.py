# Forward-looking sonar images (from a contest of the Peng Cheng Laboratory; on GitHub as violetweir/Sonor_dataset):
# 4,000 labelled images. Their three channels are equal and hold the raw echo strength. Put the images and their XML
# files here:
#   data/sonar/images/*.bmp
#   data/sonar/xml/*.xml
# Then run tools/dataset_converters/sonar2coco.py data/sonar. It splits the labelled images into annotations/train.json
# and annotations/val.json, because the labels of the test split are not public.
_base_ = 'coco_detection_640.py'
data_root = 'data/sonar/'
metainfo = dict(
    classes=('ball', 'circle cage', 'cube', 'cylinder', 'human body', 'metal bucket', 'square cage', 'tyre')
)
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(mean=[0, 0, 0])  # the larger canvas is black, like the water
train_dataloader = dict(
    dataset=dict(
        pipeline=train_pipeline,
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/train.json',
        data_prefix=dict(img='images/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, metainfo=metainfo, ann_file='annotations/val.json', data_prefix=dict(img='images/')
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
