# COCO boxes for 12 epochs, evaluated with the official limits of 1, 10 and 100 detections.
_base_ = ['mmdet::_base_/datasets/coco_detection.py', 'schedules/adamw_1x.py', 'runtime.py']
val_evaluator = dict(proposal_nums=(1, 10, 100))
test_evaluator = val_evaluator
