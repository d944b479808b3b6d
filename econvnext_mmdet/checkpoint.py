"""Strict loading of a backbone from a classifier's, a detector's or its own checkpoint.

MMDetection loads what matches and warns about the rest, so that a wrong file trains from scratch unnoticed.
"""
import re
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .errors import UserError

# Detection adds output norms to the backbone, so a classifier's file need not have them.
OUTPUT_NORM = re.compile(r'norm\d\.')
# BN's counter of batches is not used with a fixed momentum, and converted files lack it.
COUNTER = 'num_batches_tracked'


def load_backbone(backbone: nn.Module, path: str, prefix: Optional[str] = None) -> None:
    """Load every parameter and statistic of ``backbone`` from a checkpoint file.

    Output norms (``norm0`` to ``norm3``) that the file lacks stay as they are and are named in the log; so
    are the parts of a classifier or a detector that are not its backbone.

    Args:
        backbone (nn.Module): The backbone; it is not touched where the file does not fit.
        path (str): A local path or an address that mmengine's ``CheckpointLoader`` knows.
        prefix (str, optional): What stands before the backbone's names in the file, as 'backbone'. Defaults to
            None: that where any name starts so, else nothing.

    Raises:
        UserError: The file is missing or unreadable, or it does not hold exactly this backbone.
    """
    state = read_state_dict(path)
    if prefix is None:
        prefix = 'backbone' if any(key.startswith('backbone.') for key in state) else ''
    prefix = prefix.rstrip('.') + '.' if prefix else ''  # mmengine takes it with and without the dot
    found = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
    own = _tensors(backbone)

    fresh = sorted({key.split('.')[0] for key in own if OUTPUT_NORM.match(key)} - {k.split('.')[0] for k in found})
    # Output norms may be in the file and not here, and so may the stages after the last one that is used.
    parts = {_part(key) for key in own}
    unused = {key for key in found if key not in own and (OUTPUT_NORM.match(key) or _part(key) not in parts)
              and _part(key).startswith(('norm', 'stages.'))}
    check_fits(backbone, {key: value for key, value in found.items() if key not in unused}, path,
               fresh=fresh, exact=True)

    backbone.load_state_dict(found, strict=False)
    loaded = sum(key in found for key in own)
    notes = [f'loaded {loaded} of {len(own)} backbone tensors from {path}']
    if fresh:
        notes.append(f"output norms that the file lacks start fresh: {', '.join(fresh)}")
    skipped = sorted({key.split('.')[0] for key in state if not key.startswith(prefix)} | {_part(k) for k in unused})
    if skipped:
        notes.append(f"parts of the file that are not used: {', '.join(skipped)}")
    print_log('; '.join(notes), logger='current')


def check_fits(model: nn.Module, state: Dict[str, Tensor], path: str, fresh: Sequence[str] = (),
               exact: bool = False) -> None:
    """Check that a file's tensors are those of a model.

    Args:
        model (nn.Module): The model.
        state (dict[str, Tensor]): The file's tensors, under the model's names.
        path (str): The file, for the message.
        fresh (Sequence[str]): Modules of the model that the file need not have. Defaults to ().
        exact (bool): The file may hold no others either. Defaults to False.

    Raises:
        UserError: Tensors are missing, of another shape or, where ``exact``, unknown to the model; with their
            number and examples.
    """
    own = _tensors(model)
    missing = [key for key in own if key not in state and key.split('.')[0] not in fresh]
    extra = [key for key in state if exact and key not in own and not key.endswith(COUNTER)]
    reshaped = [f'{key} {tuple(state[key].shape)} for {tuple(value.shape)}' for key, value in own.items()
                if key in state and state[key].shape != value.shape]
    problems = [f'{len(names)} {what} ({_examples(names)})' for what, names in
                (('missing', missing), ('of another shape', reshaped), ('that it does not have', extra)) if names]
    if problems:
        raise UserError(f'{path} does not fit this {type(model).__name__}: of the {len(own)} tensors that it has, '
                        f"{', '.join(problems)}. Give a checkpoint of the same model: arch, deepen_factor, "
                        'widen_factor and, for a detector, its classes.')


def _tensors(model: nn.Module) -> Dict[str, Tensor]:
    return {key: value for key, value in model.state_dict().items() if not key.endswith(COUNTER)}


def _part(key: str) -> str:
    """The part of a backbone that a parameter belongs to: 'stem', 'stages.0', 'norm1', ..."""
    return '.'.join(key.split('.')[:2 if key.startswith('stages.') else 1])


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
        if 'weights_only' in str(error):
            raise UserError(f'cannot read the checkpoint {path}: this mmengine does not load training checkpoints '
                            'with torch 2.6 or later; use onedl-mmengine, or an older torch.') from error
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
