"""The outputs of an exported file, and the check of what a file gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..utils.errors import UserError
from .metadata import Metadata

DETECTIONS = ('boxes', 'scores', 'labels', 'num_dets')
# The names of the outputs by task. Those of a backbone depend on its maps.
OUTPUTS = dict(detect=DETECTIONS, segment=(*DETECTIONS, 'masks'), classify=('scores',))
MAP = 'stride_'  # the name of a backbone's map begins with it
SLACK = 1e-3  # rounding may make a probability larger than 1


def check_names(names: Sequence[str], task: str) -> None:
    """Check the names of the outputs of a file.

    Raises:
        UserError: They are not those of the task.
    """
    expected = OUTPUTS.get(task, [name for name in names if name.startswith(MAP)] or [f'{MAP}8'])
    if sorted(names) != sorted(expected):
        raise UserError(
            f'it has the outputs {", ".join(names) or "none"}, and {", ".join(expected)} were expected for the task '
            f'{task}'
        )


def check_outputs(outputs: Mapping[str, np.ndarray], metadata: Metadata, number: int) -> None:
    """Check the shapes, the types and the values of the outputs of a file.

    Args:
        outputs: The outputs by name, after :func:`check_names`. Places after the number of detections can hold
            anything.
        metadata: The metadata of the file.
        number: The number of images.

    Raises:
        UserError: An output is none that this package computes.
    """
    classes = len(metadata.names)
    places = outputs['scores'].shape[1] if metadata.task != 'features' and outputs['scores'].ndim > 1 else None
    shapes: dict[str, tuple] = dict(
        boxes=(number, places, 4),
        scores=(number, classes if metadata.task == 'classify' else places),
        labels=(number, places),
        num_dets=(number,),
        masks=(number, places, None, None),
    )
    for name, value in outputs.items():
        kind = np.integer if name in ('labels', 'num_dets') else np.floating
        _check_form(name, value, shapes.get(name, (number, None, None, None)), kind)
    if metadata.task in ('detect', 'segment'):
        numbers, most = outputs['num_dets'], outputs['scores'].shape[1]
        _check_values('num_dets', numbers, (numbers >= 0) & (numbers <= most), f'numbers from 0 to {most}')
        found = np.arange(most) < numbers[:, None]
        outputs = {name: value[found] for name, value in outputs.items() if name != 'num_dets'}
        labels, boxes = outputs.pop('labels'), outputs['boxes']
        _check_values('labels', labels, (labels >= 0) & (labels < classes), f'labels from 0 to {classes - 1}')
        _check_values('boxes', boxes, (boxes[:, 2:] >= boxes[:, :2]).all(1), 'x1 <= x2 and y1 <= y2')
    for name, value in outputs.items():
        _check_values(name, value, np.isfinite(value), 'finite numbers')
        if name in ('scores', 'masks'):
            _check_values(name, value, (value >= 0) & (value <= 1 + SLACK), 'numbers from 0 to 1')


def _check_form(name: str, value: np.ndarray, shape: Sequence[int | None], kind: Any) -> None:
    """Check the shape of an output, in which None is any size, and its type."""
    fits = value.ndim == len(shape) and all(size in (None, own) for size, own in zip(shape, value.shape))
    if not fits or not np.issubdtype(value.dtype, kind):
        expected = ', '.join('any' if size is None else str(size) for size in shape)
        raise UserError(
            f'it gives {name} of the shape {value.shape} and the type {value.dtype}, and the shape ({expected}) and '
            f'the type {kind.__name__} were expected'
        )


def _check_values(name: str, values: np.ndarray, right: Any, expected: str) -> None:
    if not right.all():
        raise UserError(f'it gives {name} such as {values[~right][0]}, and {expected} were expected')
