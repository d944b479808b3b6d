# The augmentation of the reference implementation is that of MMPretrain's Swin configs: RandAugment, Mixup or CutMix,
# and random erasing.
_base_ = [
    '../_base_/models/e-convnext-tiny_classifier.py',
    '../_base_/datasets/imagenet_classification.py',
    '../_base_/schedules/imagenet_300e.py',
    '../_base_/classification_runtime.py',
]
