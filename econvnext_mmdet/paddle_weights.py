"""Conversion of the reference's weights (PaddlePaddle) to OpenMMLab's layout."""
import hashlib
import re
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import numpy as np
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from .checkpoint import Checkpoint, Differences, named_tensors, write_checkpoint
from .errors import UserError, examples
from .models import EConvNeXt
from .paddle_names import backbone_of, detector_of, to_torch_name
from .paddle_pickle import read_pdparams
from .version import __version__

LINEAR = 'head.fc.weight'  # in Paddle (in, out), in PyTorch (out, in)
PROJECTION = 'bbox_head.integral.project'  # 0, 1, 2, ...: of mmdet's Integral
REG_BIAS = dict(PPYOLOE='bbox_head.reg_convs.0.bias', YOLOv10='bbox_head.one_to_one.reg_convs.0.2.bias')
TITLES = dict(EConvNeXt='E-ConvNeXt', PPYOLOECSPResNet='CSPResNet', YOLOv10CSPDarknet='CSPDarknet',
              PPYOLOE='PP-YOLOE', YOLOv10='YOLOv10')
# Nothing of the reference shows how it names the large kernels of YOLOv10's S.
ARCHS = dict(EConvNeXt=tuple(EConvNeXt.arch_settings), PPYOLOECSPResNet=('S', 'M', 'L'), YOLOv10CSPDarknet=('M', 'L'))


class Conversion(NamedTuple):
    """Converted weights, and the names of the source that have no place in them."""
    checkpoint: Checkpoint
    unused: List[str]


def convert(source: str, arch: Optional[str] = None, widen_factor: float = 1., deepen_factor: float = 1.) -> Conversion:
    """Convert a classifier's, a backbone's or a whole detector's parameters.

    Args:
        source (str): The ``.pdparams`` file of an E-ConvNeXt classifier or backbone, or of PP-YOLOE or YOLOv10 (its
            scales M and L) with E-ConvNeXt or with their own backbones.
        arch (str, optional): Of the backbone: 'mini', 'tiny' or 'small' of E-ConvNeXt, 'S', 'M' or 'L' of the
            detectors' own. Defaults to None: the one that the file fits best.
        widen_factor (float): Of a backbone of other widths. Defaults to 1.0.
        deepen_factor (float): Of a backbone of other depths. Defaults to 1.0.

    Returns:
        Conversion: ``backbone.*`` with the norms of the outputs that the file has, and, of a classifier, ``head.*``,
        of a detector ``neck.*`` and ``bbox_head.*``.

    Raises:
        UserError: The file is refused or unreadable, has a name that is none of the reference's, or lacks a
            parameter of the architecture, has one more or one of another shape.
    """
    arrays = read_pdparams(source)
    backbone, detector = backbone_of(arrays), detector_of(arrays)
    state, unused, unknown = {}, [], []
    for name, array in arrays.items():
        try:
            ours = to_torch_name(name, backbone, detector)
        except KeyError:
            unknown.append(name)
            continue
        if ours is None:
            unused.append(name)
        else:
            state[ours] = torch.from_numpy(np.ascontiguousarray(array.T if ours == LINEAR else array))
    title = TITLES[backbone] if detector is None else f'{TITLES[detector]} with {TITLES[backbone]}'
    if unknown:
        raise UserError(f'{source} has {len(unknown)} parameters that are none of {title}\'s: '
                        f'{examples(unknown, most=5)}')
    if detector is not None:
        state[PROJECTION] = torch.arange(_size(state, REG_BIAS[detector], source) / 4)
    parts = _neck_and_head(detector, state, source) if detector is not None else {}
    known = ARCHS[backbone]
    if arch not in (None, *known):
        raise UserError(f'{source} is of {title}, whose arch is one of {", ".join(known)}; got {arch}')
    differences: Dict[str, Differences] = {}
    for name in [arch] if arch else known:
        config = dict(type=backbone, arch=name, widen_factor=widen_factor, deepen_factor=deepen_factor)
        try:
            differences[name] = Differences.between(named_tensors(_model(config, parts, state)), state)
        except UserError as error:  # an arch that the factors do not fit
            unfit = error
    if not differences:
        raise unfit
    # By shapes, and by names where the factors are wrong and no shape is right.
    best, _ = max(differences.items(), key=lambda item: (item[1].matched, -len(item[1].missing) - len(item[1].extra)))
    title = f'{title}-{best}' + ('' if detector else ' classifier' if LINEAR in state else ' backbone')
    differences[best].refuse(title, source, exact=True)
    meta = dict(
        converted_from=Path(source).name, sha256=hashlib.sha256(Path(source).read_bytes()).hexdigest(),
        converted_by=f'econvnext_mmdet {__version__}', unused=unused, model=title,
        arch=dict(arch=best, widen_factor=widen_factor, deepen_factor=deepen_factor), **parts)
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


def _size(state: Dict[str, Tensor], key: str, source: str) -> int:
    """The length of a tensor, from which the sizes of a neck or a head follow."""
    if key not in state:
        raise UserError(f'{source} lacks the parameter that is called {key} here: it is cut short, or of another model')
    return len(state[key])


def _neck_and_head(detector: str, state: Dict[str, Tensor], source: str) -> Dict[str, dict]:
    """The configs of a detector's neck and head, in the sizes of a file."""
    blocks = {match[1] for match in map(re.compile(r'neck\.bottom_up\.0\.blocks\.(\d+)\.').match, state) if match}
    neck = dict(type=f'{detector}PAFPN', num_blocks=len(blocks))
    if detector == 'PPYOLOE':
        shallowest, last, cls_bias = 'top_down.2', 'conv3', 'bbox_head.cls_convs.0.bias'
    else:
        shallowest, last, cls_bias = 'top_down.1', 'conv2', 'bbox_head.one_to_one.cls_convs.0.2.bias'
        neck.update(arch='L' if any(key.startswith('neck.top_down.0.blocks.0.0.') for key in state) else 'M')
    # Of the layers at strides 8, 16 and 32.
    channels = [_size(state, f'neck.{layer}.{last}.bn.bias', source)
                for layer in (shallowest, 'bottom_up.0', 'bottom_up.1')]
    if detector == 'PPYOLOE':
        neck.update(out_channels=channels)
    head = dict(type=f'{detector}Head', num_classes=_size(state, cls_bias, source), in_channels=channels)
    return dict(neck=neck, bbox_head=head)


def _model(backbone: dict, parts: Dict[str, dict], state: Dict[str, Tensor]) -> nn.Module:
    """The network, with the output norms and the head that a file has, without memory for its weights.

    Args:
        backbone (dict): Config of the backbone.
        parts (dict[str, dict]): Configs of a detector's ``neck`` and ``bbox_head``, none for a classifier.
        state (dict[str, Tensor]): The file's tensors under our names.
    """
    norms = {int(match[1]) for match in map(re.compile(r'backbone\.norm(\d)\.').match, state) if match}
    with torch.device('meta'):
        model = nn.Module()
        model.backbone = MODELS.build(backbone)
        for i in set(range(4)) - norms if backbone['type'] == 'EConvNeXt' else ():
            delattr(model.backbone, f'norm{i}')
        if parts:
            model.neck = MODELS.build(dict(parts['neck'], in_channels=model.backbone.out_channels[-3:]))
            model.bbox_head = MODELS.build(parts['bbox_head'])
        elif any(key.startswith('head.') for key in state):
            classes = len(state['head.fc.bias']) if 'head.fc.bias' in state else 1000
            model.head = nn.Module()
            model.head.norm = nn.BatchNorm1d(model.backbone.out_channels[-1])
            model.head.fc = nn.Linear(model.backbone.out_channels[-1], classes)
    return model
