# COCO with boxes and masks, evaluated with COCO's own limits of 1, 10 and 100 detections.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'
val_evaluator = dict(
    _delete_=True,
    type='OfficialCocoMetric',
    ann_file='data/coco/annotations/instances_val2017.json',
    metric=['bbox', 'segm'],
)
test_evaluator = val_evaluator
