# Pascal VOC with the images and the augmentation of coco_detection_640.py. An epoch has each image once, because
# PP-YOLOE's settings count epochs.
_base_ = 'voc0712.py'
resize = dict(type='Resize', scale=(640, 640))
train_pipeline = _base_.train_pipeline
train_pipeline[2:3] = [
    dict(type='PhotoMetricDistortion'),
    dict(type='Expand', mean=[123.675, 116.28, 103.53]),
    dict(type='MinIoURandomCrop'),
    resize,
]
test_pipeline = _base_.test_pipeline
test_pipeline[1] = resize
years = _base_.train_dataloader.dataset.dataset
years.datasets = [dict(year, pipeline=train_pipeline) for year in years.datasets]
train_dataloader = dict(batch_size=4, num_workers=4, batch_sampler=None, dataset=dict(_delete_=True, **years))
val_dataloader = dict(batch_size=4, num_workers=4, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
