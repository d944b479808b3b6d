"""What the tests of the configs share."""

from mmdet.registry import MODELS
from mmdet.testing import demo_mm_inputs

from ..helpers import ROOT

PATHS = sorted(path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts)
# The name of a classifier starts with its backbone.
CLASSIFIERS = ('imagenet', 'tiny_imagenet')
DETECTORS = [path for path in PATHS if path.parent.name not in CLASSIFIERS and not path.stem.startswith('e-convnext')]


def epochs_of(cfg):
    """How often training uses each image."""
    return cfg.train_cfg.max_epochs * cfg.train_dataloader.dataset.get('times', 1)


def train_step(cfg, num_classes=80):
    """Build a detector and run the forward and backward pass of one training step, on a batch of two images.

    Returns:
        The model with its gradients, the total loss, and the single losses.
    """
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    inputs = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]], num_classes=num_classes, with_mask=model.with_mask)
    data = model.data_preprocessor(inputs, training=True)
    loss, log = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return model, loss, log


def without_gradient(model):
    """The names of the trainable parameters that have no gradient."""
    return [name for name, param in model.named_parameters() if param.requires_grad and param.grad is None]
