# The sonar dataset in the layout of sonar_detection.py. The histogram of every image is equalised, in training and in
# testing, because the raw images are nearly black.
_base_ = 'sonar_detection.py'
train_pipeline = _base_.train_pipeline
test_pipeline = _base_.test_pipeline
train_pipeline.insert(1, dict(type='Equalize'))
test_pipeline.insert(1, dict(type='Equalize'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
