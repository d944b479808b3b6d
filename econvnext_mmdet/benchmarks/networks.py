"""Building the networks of the speed comparison, with random weights, in the form for training or for inference."""

import sys
from contextlib import redirect_stdout

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_leaves

from ..deploy.libraries import library
from ..models.fuse import fuse
from ..utils.config import is_classification, load_config
from ..utils.model import unscaled_sample
from .complexity import build_network
from .peers import Entry


class TensorNetwork(nn.Module):
    """A model of OpenMMLab, from normalised images to the tensors of its head, without decoding and NMS.

    In a two-stage detector, the proposals are still decoded and go through NMS.

    Args:
        model: The model, from :func:`~econvnext_mmdet.benchmarks.complexity.build_network`.
        is_detector: Whether it is a detector.
    """

    def __init__(self, model: BaseModel, is_detector: bool):
        super().__init__()
        self.model = model
        self.is_detector = is_detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, H, W) to the tensors of the head."""
        height, width = images.shape[-2:]
        samples = [unscaled_sample((height, width)) for _ in images] if self.is_detector else None
        outputs = tree_leaves(self.model(images, samples, mode='tensor'))
        return tuple(output for output in outputs if isinstance(output, Tensor))


def build(entry: Entry) -> nn.Module:
    """Build a network with random weights and fresh BatchNorms, as for training. It maps images to tensors.

    Args:
        entry: The network.

    Raises:
        UserError: timm is not installed.
    """
    if not entry.origin.endswith('.py'):
        return library('timm', 'benchmark').create_model(entry.origin, pretrained=False)
    options = {name: list(value) if isinstance(value, tuple) else value for name, value in entry.options}
    with redirect_stdout(sys.stderr):  # MMDetection reports missing data sets to stdout, which is for the results
        cfg = load_config(entry.origin, options)
        return TensorNetwork(build_network(cfg), not is_classification(cfg))


def for_inference(network: nn.Module) -> nn.Module:
    """Bring a network from :func:`build` into its form for inference: branches merged, BatchNorms folded.

    Args:
        network: The network. Do not use it afterwards.

    Returns:
        The network in evaluation mode.
    """
    network.eval()
    if isinstance(network, TensorNetwork):
        fuse(network.model)
        return network
    network = library('timm.utils.model', 'benchmark').reparameterize_model(network)
    return _fold_norms(network)


@torch.no_grad()
def _fold_norms(network: nn.Module) -> nn.Module:
    """Fold each BatchNorm that comes directly after a convolution, as networks of timm are written.

    timm's BatchNorms may hold the activation function, which stays in their place.
    """
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in zip(children, children[1:]):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, getattr(norm, 'act', nn.Identity()))
    return network.eval()
