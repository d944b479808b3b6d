# The reference's recipe of augmentation is that of mmpretrain's Swin: RandAugment, mixup or CutMix, random erasing.
_base_ = [
    '../_base_/models/e-convnext_classifier.py', '../_base_/datasets/imagenet_classification.py',
    '../_base_/schedules/imagenet_300e.py', '../_base_/classification_runtime.py'
]
