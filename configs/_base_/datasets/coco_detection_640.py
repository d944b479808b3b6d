# COCO with boxes, every image resized to 640 x 640, with PP-YOLOE's augmentation: colours, a larger canvas, a crop that
# keeps boxes, a flip. The canvas has ImageNet's mean colour, in RGB, because Expand converts it to the images' BGR. The
# model's data_preprocessor changes the size from batch to batch.
_base_ = 'coco_detection.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PhotoMetricDistortion'),
    dict(type='Expand', mean=[123.675, 116.28, 103.53]),
    dict(type='MinIoURandomCrop'),
    dict(type='Resize', scale=(640, 640)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(640, 640)),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
# All images become square, so batches need not be grouped by shape.
train_dataloader = dict(batch_size=4, num_workers=4, batch_sampler=None, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
