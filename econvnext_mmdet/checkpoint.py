"""Strict loading of a backbone from a classifier's, a detector's or its own checkpoint.

MMDetection loads what matches and warns about the rest, so that a wrong file trains from scratch unnoticed.
"""
import re
from pathlib import Path
from typing import Dict, List, Optional

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .errors import UserError

# Detection adds output norms to the backbone, so a classifier's file need not have them.
OUTPUT_NORM = re.compile(r'norm\d\.')


def load_backbone(backbone: nn.Module, path: str, prefix: Optional[str] = None) -> None:
    """Load every parameter and statistic of ``backbone`` from a checkpoint file.

    Output norms (``norm0`` to ``norm3``) that the file lacks stay as they are and are named in the log; so
    are the parts of a classifier or a detector that are not its backbone.

    Args:
        backbone (nn.Module): The backbone; it is not touched where the file does not fit.
        path (str): A local path or an address that mmengine's ``CheckpointLoader`` knows.
        prefix (str, optional): What stands before the backbone's names in the file. Defaults to None:
            'backbone.' where any name starts so, else nothing.

    Raises:
        UserError: The file is missing or unreadable, or it does not hold exactly this backbone.
    """
    state = read_state_dict(path)
    if prefix is None:
        prefix = 'backbone.' if any(key.startswith('backbone.') for key in state) else ''
    found = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
    # The number of batches seen is a counter that BN does not use with a fixed momentum.
    own = {key: value for key, value in backbone.state_dict().items() if not key.endswith('num_batches_tracked')}

    fresh = sorted({key.split('.')[0] for key in own if OUTPUT_NORM.match(key)} - {k.split('.')[0] for k in found})
    missing = [key for key in own if key not in found and key.split('.')[0] not in fresh]
    extra = [key for key in found if key not in own and not key.endswith('num_batches_tracked')
             and not OUTPUT_NORM.match(key)]
    reshaped = [f'{key} {tuple(found[key].shape)} for {tuple(value.shape)}' for key, value in own.items()
                if key in found and found[key].shape != value.shape]
    problems = [f'{len(names)} {what} ({_examples(names)})' for what, names in
                (('missing', missing), ('of another shape', reshaped), ('that it does not have', extra)) if names]
    if problems:
        raise UserError(
            f"{path} does not fit this {type(backbone).__name__}: of the backbone's {len(own)} tensors "
            f"{', '.join(problems)}. Give a checkpoint of the same arch, deepen_factor and widen_factor.")

    backbone.load_state_dict(found, strict=False)
    loaded = sum(key in found for key in own)
    notes = [f'loaded {loaded} of {len(own)} backbone tensors from {path}']
    if fresh:
        notes.append(f"output norms that the file lacks start fresh: {', '.join(fresh)}")
    skipped = sorted({key.split('.')[0] for key in state if not key.startswith(prefix)}
                     | {key.split('.')[0] for key in found if OUTPUT_NORM.match(key) and key not in own})
    if skipped:
        notes.append(f"parts of the file that are not used: {', '.join(skipped)}")
    print_log('; '.join(notes), logger='current')


def read_state_dict(path: str) -> Dict[str, Tensor]:
    """Read a checkpoint's tensors by name, from an mmengine checkpoint or a plain state dict.

    Raises:
        UserError: The file is missing, not a checkpoint, truncated, or without tensors.
    """
    if '://' not in str(path) and not Path(path).is_file():
        raise UserError(f'no checkpoint file {path}. Give the path of a .pth file that training wrote.')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    except Exception as error:  # torch.load fails with whatever its parsers meet in a broken file
        raise UserError(f'cannot read the checkpoint {path}: {_first_line(error)}. The file is truncated or no '
                        'PyTorch checkpoint; copy it again.') from error
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else {}
    state = {re.sub(r'^module\.', '', key): value for key, value in state.items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(f'{path} holds no tensors by name. Give a checkpoint with a state_dict.')
    return state


def _examples(names: List[str], most: int = 3) -> str:
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [''])[0].rstrip('.') or type(error).__name__
