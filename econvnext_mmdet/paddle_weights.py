"""Conversion of the reference's weights (PaddlePaddle) to OpenMMLab's layout."""
import hashlib
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor, nn

from .checkpoint import Checkpoint, Differences, named_tensors, write_checkpoint
from .errors import UserError, examples
from .models import EConvNeXt
from .paddle_names import to_torch_name
from .paddle_pickle import read_pdparams
from .version import __version__

LINEAR = 'head.fc.weight'  # in Paddle (in, out), in PyTorch (out, in)


class Conversion(NamedTuple):
    """Converted weights, and the names of the source that have no place in them."""
    checkpoint: Checkpoint
    unused: List[str]


def convert(source: str, arch: Optional[str] = None, widen_factor: float = 1., deepen_factor: float = 1.) -> Conversion:
    """Convert a classifier's or a backbone's parameters, or the backbone of a detector's.

    Args:
        source (str): The ``.pdparams`` file.
        arch (str, optional): 'mini', 'tiny' or 'small'. Defaults to None: the one that the file fits best.
        widen_factor (float): Of a network of other widths. Defaults to 1.0.
        deepen_factor (float): Of a network of other depths. Defaults to 1.0.

    Returns:
        Conversion: ``backbone.*`` with the norms of the outputs that the file has, and, of a classifier, ``head.*``.

    Raises:
        UserError: The file is refused or unreadable, has a name that is none of the reference's, or lacks a
            parameter of the architecture, has one more or one of another shape.
    """
    arrays = read_pdparams(source)
    state, unused, unknown = {}, [], []
    for name, array in arrays.items():
        try:
            ours = to_torch_name(name)
        except KeyError:
            unknown.append(name)
            continue
        if ours is None:
            unused.append(name)
        else:
            state[ours] = torch.from_numpy(np.ascontiguousarray(array.T if ours == LINEAR else array))
    if unknown:
        raise UserError(f'{source} has {len(unknown)} parameters that are none of E-ConvNeXt\'s: '
                        f'{examples(unknown, most=5)}')
    archs = [arch] if arch else list(EConvNeXt.arch_settings)
    models = {name: _model(name, widen_factor, deepen_factor, state) for name in archs}
    differences = {name: Differences.between(named_tensors(model), state) for name, model in models.items()}
    best = max(archs, key=lambda name: differences[name].matched)
    differences[best].refuse(f'E-ConvNeXt-{best}', source, exact=True)
    meta = dict(
        converted_from=Path(source).name, sha256=hashlib.sha256(Path(source).read_bytes()).hexdigest(),
        converted_by=f'econvnext_mmdet {__version__}', unused=unused,
        arch=dict(arch=best, widen_factor=widen_factor, deepen_factor=deepen_factor))
    return Conversion(Checkpoint(state, meta), unused)


def convert_file(source: str, out: str, arch: Optional[str] = None, widen_factor: float = 1.,
                 deepen_factor: float = 1.) -> Conversion:
    """Convert a file as :func:`convert` does, and write the ``.pth`` or ``.safetensors`` file ``out``.

    Raises:
        UserError: As :func:`convert`, or ``out`` has another ending; nothing is written.
    """
    if Path(out).suffix not in ('.pth', '.safetensors'):
        raise UserError(f'expected a name that ends in .pth or .safetensors for the converted file; got {out}')
    conversion = convert(source, arch, widen_factor, deepen_factor)
    write_checkpoint(out, conversion.checkpoint)
    return conversion


def _model(arch: str, widen_factor: float, deepen_factor: float, state: Dict[str, Tensor]) -> nn.Module:
    """The network, with the output norms and the head that a file has, without memory for its weights."""
    norms = {int(match[1]) for match in map(re.compile(r'backbone\.norm(\d)\.').match, state) if match}
    with torch.device('meta'):
        model = nn.Module()
        model.backbone = EConvNeXt(arch, widen_factor=widen_factor, deepen_factor=deepen_factor)
        for i in set(range(4)) - norms:
            delattr(model.backbone, f'norm{i}')
        if any(key.startswith('head.') for key in state):
            classes = len(state['head.fc.bias']) if 'head.fc.bias' in state else 1000
            model.head = nn.Module()
            model.head.norm = nn.BatchNorm1d(model.backbone.out_channels[-1])
            model.head.fc = nn.Linear(model.backbone.out_channels[-1], classes)
    return model
