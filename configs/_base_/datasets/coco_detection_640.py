# COCO with boxes. Every image is resized to 640 x 640. The augmentation is that of PP-YOLOE: changed colours, a larger
# canvas, a crop that keeps boxes, and a flip. The canvas has ImageNet's mean colour. It is given in RGB, because Expand
# converts it to the BGR of the images. The model's data_preprocessor changes the size from batch to batch.
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
# All images become square, so images do not have to be grouped into batches by their shape.
train_dataloader = dict(batch_size=4, num_workers=4, batch_sampler=None, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
