"""Strict reading and loading of checkpoints: a classifier's, a detector's or a bare backbone's.

MMDetection loads what matches and warns about the rest, so that a wrong file trains from scratch unnoticed.
"""
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union
from urllib.parse import unquote, urlsplit

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .errors import UserError, examples
from .files import whole_file

# Detection adds output norms to the backbone, so a classifier's file need not have them.
OUTPUT_NORM = re.compile(r'norm\d\.')
# BN's counter of batches is not used with a fixed momentum, and converted files lack it.
COUNTER = 'num_batches_tracked'
# As OpenMMLab names published files: the beginning of the content's SHA-256.
HASH = re.compile(r'-([0-9a-f]{8,64})\.[a-z]+$')


class Checkpoint(NamedTuple):
    """A file's tensors by name, and what it says of itself."""
    state: Dict[str, Tensor]
    meta: Dict[str, Any]

    @property
    def kind(self) -> str:
        """'detector', 'classifier' or 'backbone' by the names, 'model' for what is none of these."""
        parts = {key.partition('.')[0] for key in self.state}
        if 'backbone' not in parts:
            return 'backbone' if {'stem', 'stages'} <= parts else 'model'
        return 'backbone' if parts == {'backbone'} else 'classifier' if parts == {'backbone', 'head'} else 'detector'


def read_checkpoint(path: str) -> Checkpoint:
    """Read a checkpoint: MMEngine's, a plain state dict or safetensors.

    Of a checkpoint with an exponential moving average the averaged weights are taken: MMEngine's ``EMAHook`` stores
    them as ``state_dict``. A state of the averaging model itself is taken too.

    Args:
        path (str): A local path, a ``file:`` or ``https:`` address, or another that MMEngine's
            ``CheckpointLoader`` knows. Where the name ends in a hash, as ``net-0123abcd.pth``, the content's
            SHA-256 must begin so.

    Raises:
        UserError: The file is missing, not a checkpoint, truncated, without tensors, or not what its hash says.
    """
    path = str(path)
    if '://' not in path and not path.startswith('file:') and not Path(path).is_file():
        raise UserError(f'no checkpoint file {path}. Give the path of a .pth or .safetensors file.')
    check_hash(path)
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except UserError:
        raise
    except Exception as error:  # torch.load fails with whatever its parsers meet in a broken file
        if 'weights_only' in str(error):
            raise UserError(f'cannot read the checkpoint {path}: this mmengine does not load training checkpoints '
                            'with torch 2.6 or later; use onedl-mmengine, or an older torch.') from error
        raise UserError(f'cannot read the checkpoint {path}: {_first_line(error)}. The file is truncated or no '
                        'checkpoint; copy it again.') from error
    state = tensors_of(checkpoint)
    if not state:
        raise UserError(f'{path} holds no tensors by name. Give a checkpoint with a state_dict.')
    return Checkpoint(state, checkpoint.get('meta') or {})


def tensors_of(checkpoint: Any) -> Dict[str, Tensor]:
    """The tensors of a loaded checkpoint or state dict by name, without the prefix of a wrapper."""
    if not isinstance(checkpoint, dict):
        return {}
    state = checkpoint.get('state_dict', checkpoint)
    averaging = 'steps' in state  # torch's AveragedModel counts its updates beside the module
    return {re.sub(r'^module\.', '', key): value for key, value in state.items()
            if isinstance(value, Tensor) and not (averaging and key == 'steps')}


def write_checkpoint(path: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all: OpenMMLab's layout, or safetensors with the meta as JSON.

    Args:
        path (str): A .pth or .safetensors file.
        checkpoint (Checkpoint): What to write.
    """
    state, meta = checkpoint
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(path)) as part:
        if Path(path).suffix == '.safetensors':
            from safetensors.torch import save  # save_file makes a file that others may not read
            part.write_bytes(save({key: value.contiguous() for key, value in state.items()},
                                  metadata=dict(meta=json.dumps(meta, default=str))))
        else:
            buffer = io.BytesIO()  # else the file's name is in its content, and changes the hash
            torch.save(dict(meta=meta, state_dict=state), buffer)
            part.write_bytes(buffer.getvalue())


@CheckpointLoader.register_scheme(prefixes=r'[^:]*\.safetensors$')
def load_safetensors(path: str, map_location: Any = None) -> dict:
    """Load a local safetensors file as MMEngine loads a .pth; its configs may then name such a file too."""
    from safetensors import safe_open
    with safe_open(path, framework='pt', device=str(map_location or 'cpu')) as file:
        meta = json.loads((file.metadata() or {}).get('meta', '{}'))
        return dict(meta=meta, state_dict={key: file.get_tensor(key) for key in file.keys()})


@CheckpointLoader.register_scheme(prefixes=('file:', r'https?://.*\.safetensors$'))
def load_address(path: str, map_location: Any = None) -> dict:
    """Load what MMEngine has no loader for: ``file:`` addresses, and safetensors over the network."""
    return CheckpointLoader.load_checkpoint(local_file(path), map_location)


def local_file(path: str) -> str:
    """The local file of a path or an address; what is on the network is fetched once, into PyTorch's cache.

    Raises:
        UserError: There is no such file, or it cannot be fetched.
    """
    if path.startswith('file:'):
        file = Path(unquote(urlsplit(path).path))
    elif re.match('https?://', path):
        file = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlsplit(path).path).name
        if is_main_process() and not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(path, str(file))
            except OSError as error:  # of urllib, too
                raise UserError(f'cannot fetch {path}: {error}') from error
        barrier()
    else:
        file = Path(path)
    if not file.is_file():
        raise UserError(f'no checkpoint file {path}')
    return str(file)


def check_hash(path: str) -> None:
    """Check a file against the hash that its name ends in, if it does.

    Raises:
        UserError: The content is another; the file that was fetched for an address is then removed.
    """
    expected = HASH.search(urlsplit(path).path if '://' in path else path)
    if expected is None or '://' in path and not re.match('(https?|file):', path):
        return
    file = local_file(path)
    digest = hashlib.sha256()
    with open(file, 'rb') as content:
        for block in iter(lambda: content.read(1 << 20), b''):
            digest.update(block)
    if not digest.hexdigest().startswith(expected[1]):
        if path.startswith('http'):
            Path(file).unlink()
        raise UserError(f'{path} is not the file of that name: its SHA-256 begins with '
                        f'{digest.hexdigest()[:len(expected[1])]}, not with {expected[1]}. It is damaged or was '
                        'changed; get it again, or take the hash out of its name.')


def pretrained_of(init_cfg: Union[dict, Sequence[dict], None]) -> List[dict]:
    """Those of a module's ``init_cfg`` that load a checkpoint."""
    init_cfgs = [init_cfg] if isinstance(init_cfg, dict) else init_cfg or []
    return [cfg for cfg in init_cfgs if cfg['type'] in ('Pretrained', PretrainedInit)]


def load_backbone(backbone: nn.Module, path: str, prefix: Optional[str] = None,
                  allow_partial: bool = False) -> Tuple[str, ...]:
    """Load every parameter and statistic of ``backbone`` from a checkpoint file.

    Output norms (``norm0`` to ``norm3``) that the file lacks stay as they are and are named in the log; so
    are the parts of a classifier or a detector that are not its backbone.

    Args:
        backbone (nn.Module): The backbone; it is not touched where the file does not fit.
        path (str): As :func:`read_checkpoint` takes it.
        prefix (str, optional): What stands before the backbone's names in the file, as 'backbone'. Defaults to
            None: that where any name starts so, else nothing.
        allow_partial (bool): Load what fits and name the rest in the log. Defaults to False.

    Returns:
        tuple[str, ...]: The output norms that the file lacks.

    Raises:
        UserError: The file is missing or unreadable, or it does not hold exactly this backbone.
    """
    checkpoint = read_checkpoint(path)
    state, kind = checkpoint.state, checkpoint.kind
    if prefix is None:
        prefix = 'backbone' if any(key.startswith('backbone.') for key in state) else ''
    prefix = prefix.rstrip('.') + '.' if prefix else ''  # mmengine takes it with and without the dot
    found = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
    counters = {key: found.pop(key) for key in list(found) if key.endswith(COUNTER)}
    own = named_tensors(backbone)

    fresh = sorted({key.split('.')[0] for key in own if OUTPUT_NORM.match(key)} - {k.split('.')[0] for k in found})
    # Output norms may be in the file and not here, and so may the stages after the last one that is used.
    parts = {_part(key) for key in own}
    unused = {key for key in found if key not in own and (OUTPUT_NORM.match(key) or _part(key) not in parts)
              and _part(key).startswith(('norm', 'stages.'))}
    wanted = {key: value for key, value in found.items() if key not in unused}
    differences = Differences.between(own, wanted, fresh)
    if not allow_partial or differences.matched == 0:
        differences.refuse(type(backbone).__name__, path, exact=True)

    fitting = {key: value for key, value in wanted.items() if key in own and value.shape == own[key].shape}
    backbone.load_state_dict({**counters, **fitting}, strict=False)
    notes = [f'loaded {differences.matched} of {len(own)} backbone tensors from {path}, a {kind}\'s checkpoint']
    if fresh:
        notes.append(f"output norms that the file lacks start fresh: {', '.join(fresh)}")
    if differences:
        notes.append(f'left at initialisation, as the config allows: {", ".join(differences.left_fresh())}')
        unused |= set(differences.extra)
    skipped = sorted({key.split('.')[0] for key in state if not key.startswith(prefix)} | {_part(k) for k in unused})
    if skipped:
        notes.append(f"parts of the file that are not used: {', '.join(skipped)}")
    print_log('; '.join(notes), logger='current')
    return tuple(fresh)


class Differences(NamedTuple):
    """How a file's tensors differ from a model's.

    Attributes:
        total (int): How many tensors the model has.
        matched (int): How many of them the file has, in their shapes.
        missing (list[str]): Names that the file lacks.
        reshaped (dict[str, str]): Names of another shape, and the file's and the model's.
        extra (list[str]): Names of the file that the model does not have.
    """
    total: int
    matched: int
    missing: List[str]
    reshaped: Dict[str, str]
    extra: List[str]

    @classmethod
    def between(cls, own: Dict[str, Tensor], state: Dict[str, Tensor], fresh: Sequence[str] = ()) -> 'Differences':
        """Compare; what is in modules or of names ``fresh`` need not be in the file."""
        missing = [key for key in own if key not in state and key.split('.')[0] not in fresh and key not in fresh]
        reshaped = {key: f'{tuple(state[key].shape)} for {tuple(value.shape)}' for key, value in own.items()
                    if key in state and state[key].shape != value.shape}
        extra = [key for key in state if key not in own and not key.endswith(COUNTER)]
        matched = sum(key in state and key not in reshaped for key in own)
        return cls(len(own), matched, missing, reshaped, extra)

    def __bool__(self) -> bool:
        return bool(self.missing or self.reshaped or self.extra)

    def left_fresh(self) -> List[str]:
        """The names that loading does not reach."""
        return self.missing + list(self.reshaped)

    def refuse(self, model: str, path: str, exact: bool) -> None:
        """Raise a UserError with numbers and examples; that the file has more is one only where ``exact``."""
        problems = [f'{len(names)} {what} ({examples(names)})' for what, names in
                    (('missing', self.missing), ('of another shape', [' '.join(i) for i in self.reshaped.items()]),
                     ('that it does not have', self.extra if exact else [])) if names]
        if problems:
            raise UserError(f'{path} does not fit this {model}: of the {self.total} tensors that it '
                            f"has, {', '.join(problems)}. Give a checkpoint of the same model: arch, deepen_factor, "
                            'widen_factor and, for a detector, its classes.')


def prepare_state(model: nn.Module, checkpoint: dict, path: str, resume: bool = False,
                  allow_partial: bool = False) -> None:
    """Check that a loaded checkpoint is a model's, and take out of it what is not to be loaded.

    The last layers of heads for another number of classes start fresh, unless a training is resumed. Norms of
    outputs that the model does not have are not used.

    Args:
        model (nn.Module): The whole model.
        checkpoint (dict): MMEngine's, or a plain state dict, which becomes the former.
        path (str): Its file, for messages.
        resume (bool): The training goes on: everything must fit. Defaults to False.
        allow_partial (bool): Name what does not fit in the log instead. Defaults to False.

    Raises:
        UserError: Something does not fit.
    """
    state, own = tensors_of(checkpoint), named_tensors(model)
    modules = dict(model.named_modules())
    norms = {key for key in state if OUTPUT_NORM.match(re.sub(r'^backbone\.', '', key))
             and key.rpartition('.')[0] not in modules}
    classes = set() if resume else class_layers(model, state)
    apart = classes | norms
    differences = Differences.between(own, {key: value for key, value in state.items() if key not in apart}, classes)
    if not allow_partial or resume or differences.matched == 0:
        kind = Checkpoint(state, {}).kind
        if kind != 'detector' and any(key.startswith('backbone.') for key in own) and not (
                kind == 'classifier' and hasattr(model, 'head')):
            raise UserError(f'{path} is a {kind}\'s checkpoint, and a whole {type(model).__name__} is to be loaded; to '
                            'start its backbone from it take --pretrained, or init_cfg of the backbone')
        differences.refuse(type(model).__name__, path, exact=True)
    left_out = apart | {*differences.reshaped, *differences.extra}
    if 'state_dict' not in checkpoint:
        checkpoint['state_dict'] = dict(state)
    for key in left_out | {f'module.{key}' for key in left_out}:
        checkpoint['state_dict'].pop(key, None)
    notes = [f'{differences.matched} of {differences.total} tensors are loaded from {path}']
    if norms:
        notes.append('norms of outputs that the model does not have are not used: '
                     + ', '.join(sorted({key.rpartition('.')[0] for key in norms})))
    if classes:
        notes.append('layers for another number of classes start fresh: '
                     + ', '.join(sorted({key.rpartition('.')[0] for key in classes})))
    if differences:
        notes.append(f'left at initialisation, as the config allows: {", ".join(differences.left_fresh()) or "nothing"}'
                     f'; not used: {", ".join(differences.extra) or "nothing"}')
    print_log('; '.join(notes), logger='current')


def check_fits(model: nn.Module, state: Dict[str, Tensor], path: str) -> None:
    """Check that a file has all of a model's tensors, in their shapes; it may have more.

    Args:
        model (nn.Module): The model.
        state (dict[str, Tensor]): The file's tensors, under the model's names.
        path (str): The file, for the message.

    Raises:
        UserError: Tensors are missing or of another shape, with their number and examples.
    """
    Differences.between(named_tensors(model), state).refuse(type(model).__name__, path, exact=False)


def class_layers(model: nn.Module, state: Dict[str, Tensor]) -> Set[str]:
    """The names of the last layers of heads that a file has for another number of classes.

    Such a layer has a multiple of the number of classes, or of one more for the background, as the length of its
    first dimension alone. It counts as one only if a single number of classes explains all shapes of the file that
    are not the model's.

    Args:
        model (nn.Module): The model; its heads have ``num_classes``.
        state (dict[str, Tensor]): The file's tensors, under the model's names.
    """
    modules = dict(model.named_modules())
    found, explained = set(), None
    for key, own in named_tensors(model).items():
        if key not in state or state[key].shape == own.shape:
            continue
        path = key.split('.')
        owners = [modules['.'.join(path[:depth])] for depth in range(len(path) - 1, 0, -1)]
        classes = next((module.num_classes for module in owners if hasattr(module, 'num_classes')), None)
        if classes is None or own.dim() != state[key].dim() or own.shape[1:] != state[key].shape[1:]:
            return set()
        numbers = set()
        for background in (0, 1):
            each, rest = divmod(own.shape[0], classes + background)
            if rest == 0 and state[key].shape[0] % each == 0:
                numbers.add(state[key].shape[0] // each - background)
        explained = numbers if explained is None else explained & numbers
        found.add(key)
    return found if explained and max(explained) > 0 else set()


def named_tensors(model: nn.Module) -> Dict[str, Tensor]:
    """A model's parameters and statistics by name, without BN's counters."""
    return {key: value for key, value in model.state_dict().items() if not key.endswith(COUNTER)}


def _part(key: str) -> str:
    """The part of a backbone that a parameter belongs to: 'stem', 'stages.0', 'norm1', ..."""
    return '.'.join(key.split('.')[:2 if key.startswith('stages.') else 1])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [''])[0].rstrip('.') or type(error).__name__
