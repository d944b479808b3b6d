# COCO with boxes, evaluated with COCO's own limits of 1, 10 and 100 detections.
_base_ = 'mmdet::_base_/datasets/coco_detection.py'
val_evaluator = dict(
    _delete_=True, type='OfficialCocoMetric', ann_file='data/coco/annotations/instances_val2017.json', metric='bbox'
)
test_evaluator = val_evaluator
