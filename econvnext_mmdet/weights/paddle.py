"""Conversion of the weights of the reference implementation (PaddlePaddle) to OpenMMLab's layout."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from ..utils.config import explain_user_errors
from ..utils.errors import UserError, examples, is_readable
from ..utils.files import check_extension, check_writable
from ..version import __version__
from .checkpoint import CHECKPOINT_EXTENSIONS, Checkpoint, check_finite, write_checkpoint
from .loading import Differences, named_tensors
from .paddle_names import backbone_of, detector_of, to_torch_name
from .pdparams import read_pdparams

LINEAR = 'head.fc.weight'  # (in, out) in Paddle, (out, in) in PyTorch
FLOATS = (np.float16, np.float32, np.float64)
PROJECTION = 'bbox_head.integral.project'  # the numbers 0, 1, 2, ... of MMDetection's Integral
REG_BIAS = dict(PPYOLOE='bbox_head.reg_convs.0.bias', YOLOv10='bbox_head.one_to_one.reg_convs.0.2.bias')
TITLES = dict(
    EConvNeXt='E-ConvNeXt',
    PPYOLOECSPResNet='CSPResNet',
    YOLOv10CSPDarknet='CSPDarknet',
    PPYOLOE='PP-YOLOE',
    YOLOv10='YOLOv10',
)
# The reference implementation does not show how it names the large kernels of this scale.
UNKNOWN_NAMES = ('YOLOv10CSPDarknet', 'S')


class Conversion(NamedTuple):
    """Converted weights, and the names of the source's parameters that are not used."""

    checkpoint: Checkpoint
    unused: list[str]


def convert(
    source: str,
    arch: str | None = None,
    widen_factor: float = 1.0,
    deepen_factor: float = 1.0,
    classes: Sequence[str] | None = None,
) -> Conversion:
    """Convert the parameters of a classifier, a backbone or a whole detector.

    Args:
        source: The ``.pdparams`` file of an E-ConvNeXt classifier or backbone, or of PP-YOLOE or YOLOv10 (scales M and
            L) with E-ConvNeXt or with their own backbones.
        arch: The backbone's arch: 'mini', 'tiny' or 'small' for E-ConvNeXt, 'S', 'M' or 'L' for the detectors' own
            backbones. Defaults to None: the one that fits the file best.
        widen_factor: The backbone's widen_factor, if its widths are not the published ones. Defaults to 1.0.
        deepen_factor: The backbone's deepen_factor, if its depths are not the published ones. Defaults to 1.0.
        classes: The names of the classes in the order of their labels, for the metadata, since the file has none.
            Defaults to None: no names.

    Returns:
        ``backbone.*`` with the output norms that the file has; also ``head.*`` for a classifier, or ``neck.*`` and
        ``bbox_head.*`` for a detector.

    Raises:
        UserError: The file is unreadable, refers to code other than NumPy's arrays, or has a name that the reference
            does not use. Or a parameter is missing, is not part of the architecture, or has a different shape.
            Or there are not as many different names as classes, or a name has no visible characters. Or a parameter
            has numbers that are no floating-point numbers of PyTorch or not finite, or a variance is negative.
    """
    arrays = read_pdparams(source)
    backbone, detector = backbone_of(arrays), detector_of(arrays)
    state: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    unused, unknown = [], []
    for name, array in arrays.items():
        try:
            ours = to_torch_name(name, backbone, detector)
        except KeyError:
            unknown.append(name)
            continue
        if ours is None:
            unused.append(name)
        elif ours in names:
            raise UserError(f'{source} has two parameters for {ours}: {names[ours]} and {name}. Remove the wrong one.')
        elif array.dtype not in FLOATS:
            raise UserError(
                f'{source}: {name} has the type {array.dtype}, and a parameter has float16, float32 or float64. Paddle '
                'saves bfloat16 as uint16; convert the parameters to float32 there, and save them again.'
            )
        else:
            names[ours] = name
            state[ours] = torch.from_numpy(np.ascontiguousarray(array.T if ours == LINEAR else array))
    title = TITLES[backbone] if detector is None else f'{TITLES[detector]} with {TITLES[backbone]}'
    if unknown:
        raise UserError(
            f'{source} has parameters that {title} does not have ({len(unknown)}): {examples(unknown, most=5)}'
        )
    check_finite(state, source)
    if detector is not None:
        state[PROJECTION] = torch.arange(_size(state, REG_BIAS[detector], source) / 4)
    parts = _neck_and_head(detector, state, source) if detector is not None else {}
    known = [name for name in MODELS.get(backbone).arch_settings if (backbone, name) != UNKNOWN_NAMES]
    if arch not in (None, *known):
        raise UserError(f'{source} holds {title}, whose arch must be one of {", ".join(known)}; got {arch}')
    candidates = [arch] if arch else known
    differences: dict[str, Differences] = {}
    for name in candidates:
        config = dict(type=backbone, arch=name, widen_factor=widen_factor, deepen_factor=deepen_factor)
        try:
            differences[name] = Differences.between(named_tensors(_model(config, parts, state)), state)
        except UserError:  # the factors do not fit this arch
            if name == candidates[-1] and not differences:
                raise
    # The number of matching shapes decides. With wrong factors, possibly no shape matches. Then the names decide.
    best, _ = max(differences.items(), key=lambda item: (item[1].matched, -len(item[1].missing) - len(item[1].extra)))
    title = f'{title}-{best}' + ('' if detector else ' classifier' if LINEAR in state else ' backbone')
    differences[best].refuse(title, source, exact=True)
    meta: dict[str, Any] = dict(
        converted_from=Path(source).name,
        sha256=hashlib.sha256(Path(source).read_bytes()).hexdigest(),
        converted_by=f'econvnext_mmdet {__version__}',
        unused=unused,
        model=title,
        arch=dict(arch=best, widen_factor=widen_factor, deepen_factor=deepen_factor),
        **parts,
    )
    if classes is not None:
        number = parts['bbox_head']['num_classes'] if parts else len(state.get('head.fc.bias', ()))
        if len(set(classes)) != number or len(classes) != number or not all(map(is_readable, classes)):
            raise UserError(
                f'{source} holds {title} with {number} classes; expected as many different names with visible '
                f'characters, in the order of the labels, and got {len(classes)}: {examples([*map(repr, classes)], 5)}'
            )
        meta['dataset_meta'] = dict(classes=tuple(classes))  # where MMEngine's checkpoints have them
    return Conversion(Checkpoint(state, meta), unused)


def convert_file(
    source: str,
    out: str,
    arch: str | None = None,
    widen_factor: float = 1.0,
    deepen_factor: float = 1.0,
    classes: Sequence[str] | None = None,
) -> Conversion:
    """Convert a file with :func:`convert` and write the result to ``out``, a ``.pth`` or ``.safetensors`` file.

    Raises:
        UserError: See :func:`convert`. Also if ``out`` has a different file extension or is the source. Nothing is
            written.
    """
    check_extension(out, CHECKPOINT_EXTENSIONS, 'the converted file')
    conversion = convert(source, arch, widen_factor, deepen_factor, classes)
    check_writable(out, source)
    write_checkpoint(out, conversion.checkpoint)
    return conversion


def _size(state: dict[str, Tensor], key: str, source: str) -> int:
    """The length of a tensor, from which the sizes of a neck or a head follow."""
    if key not in state:
        raise UserError(
            f'{source} lacks the parameter that becomes {key}. The file is incomplete or holds a different model.'
        )
    return len(state[key])


def _neck_and_head(detector: str, state: dict[str, Tensor], source: str) -> dict[str, dict[str, Any]]:
    """The configs of a detector's neck and head. Their sizes come from the file."""
    blocks = {match[1] for match in map(re.compile(r'neck\.bottom_up\.0\.blocks\.(\d+)\.').match, state) if match}
    neck: dict[str, Any] = dict(type=f'{detector}PAFPN', num_blocks=len(blocks))
    if detector == 'PPYOLOE':
        shallowest, last, cls_bias = 'top_down.2', 'conv3', 'bbox_head.cls_convs.0.bias'
    else:
        shallowest, last, cls_bias = 'top_down.1', 'conv2', 'bbox_head.one_to_one.cls_convs.0.2.bias'
        neck.update(arch='L' if any(key.startswith('neck.top_down.0.blocks.0.0.') for key in state) else 'M')
    # The channels at strides 8, 16 and 32.
    channels = [
        _size(state, f'neck.{layer}.{last}.bn.bias', source) for layer in (shallowest, 'bottom_up.0', 'bottom_up.1')
    ]
    if detector == 'PPYOLOE':
        neck.update(out_channels=channels)
    head = dict(type=f'{detector}Head', num_classes=_size(state, cls_bias, source), in_channels=channels)
    return dict(neck=neck, bbox_head=head)


def _model(config: dict[str, Any], parts: dict[str, dict[str, Any]], state: dict[str, Tensor]) -> nn.Module:
    """Build the network on the meta device, where its weights need no memory.

    It has the output norms and the head that the file has.

    Args:
        config: The config of the backbone.
        parts: The configs of a detector's ``neck`` and ``bbox_head``; empty for a classifier or a backbone.
        state: The tensors of the file, under the names of this package.
    """
    norms = {int(match[1]) for match in map(re.compile(r'backbone\.norm(\d)\.').match, state) if match}
    with torch.device('meta'), explain_user_errors():
        model = nn.Module()
        model.backbone = backbone = MODELS.build(config)
        for i in set(range(4)) - norms if config['type'] == 'EConvNeXt' else ():
            delattr(backbone, f'norm{i}')
        if parts:
            model.neck = MODELS.build(dict(parts['neck'], in_channels=backbone.out_channels[-3:]))
            model.bbox_head = MODELS.build(parts['bbox_head'])
        elif any(key.startswith('head.') for key in state):
            classes = len(state['head.fc.bias']) if 'head.fc.bias' in state else 1000
            model.head = head = nn.Module()
            head.norm = nn.BatchNorm1d(backbone.out_channels[-1])
            head.fc = nn.Linear(backbone.out_channels[-1], classes)
    return model
