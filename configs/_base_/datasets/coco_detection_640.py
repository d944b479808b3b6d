# COCO boxes at 640 x 640, whatever the image's shape, with PP-YOLOE's augmentation: colours, a larger
# canvas of ImageNet's mean colour (in RGB, which Expand turns to the images' BGR), a crop that keeps boxes, a flip.
# Changing the size from batch to batch is left to the model's data_preprocessor.
_base_ = 'coco_detection.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='Expand', mean=[123.675, 116.28, 103.53]),
    dict(type='MinIoURandomCrop'),
    dict(type='Resize', scale=(640, 640)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(640, 640)),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
# All images become square, so none need a batch of their own shape.
train_dataloader = dict(batch_size=4, num_workers=4, batch_sampler=None, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
