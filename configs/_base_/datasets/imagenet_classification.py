# MMPretrain's ImageNet-1K at 224 x 224 with Swin's augmentation. drop_last is set because the BatchNorm of the head
# cannot train on a last batch of one image. The other settings are those that MMPretrain's own tools add.
_base_ = 'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py'
loader = dict(pin_memory=True, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = dict(drop_last=True, **loader)
val_dataloader = loader
test_dataloader = loader
