_base_ = ['../_base_/models/retinanet_e-convnext_fpn.py', '../_base_/coco_1x.py', 'mmdet::retinanet/retinanet_tta.py']
