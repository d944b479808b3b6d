"""Writing checkpoint files, and reading them from local paths or URLs."""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.model.weight_init import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..utils.cli import only_weights
from ..utils.errors import UserError, examples, is_readable
from ..utils.files import parse_json, whole_file
from .unpickling import load_pth, use_safe_handlers, without_program

# The formats that write_checkpoint knows.
CHECKPOINT_EXTENSIONS = ('.pth', '.safetensors')
# In OpenMMLab, the name of a published file ends with the first digits of the SHA-256 of its content. A date such as
# 20250801 is not a hash.
HASH = re.compile(r'-(?!20\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])\.)([0-9a-f]{8,64})\.[a-zA-Z]+$')
HTTP = re.compile('https?://')
# The name of the module that marks a fused model, see econvnext_mmdet.models.fuse.
FUSED_MARK = 'fused'


class Checkpoint(NamedTuple):
    """The tensors of a file by name, and its metadata."""

    state: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def classes(self) -> Sequence[str] | None:
        """The names of the labels in their order, or None if the file does not say them."""
        return (self.meta.get('dataset_meta') or {}).get('classes')

    @property
    def kind(self) -> str:
        """'detector', 'classifier', 'backbone', or 'model' for anything else, judged by the names of the tensors."""
        parts = {key.partition('.')[0] for key in self.state}
        if 'backbone' not in parts:
            return 'backbone' if {'stem', 'stages'} <= parts else 'model'
        return 'backbone' if parts == {'backbone'} else 'classifier' if parts == {'backbone', 'head'} else 'detector'


def read_checkpoint(path: str) -> Checkpoint:
    """Read a checkpoint: MMEngine's layout, a plain state dict or safetensors. No code in the file runs.

    If training kept an exponential moving average (EMA) of the weights, the result holds the EMA weights, because
    MMEngine's ``EMAHook`` stores them as ``state_dict``. The state dict of the EMA model itself (``module.*``) can be
    read too.

    Args:
        path: A local path, a ``file:`` or ``https:`` URL, or any other URL that MMEngine's ``CheckpointLoader``
            supports. If the file name ends in a hash, such as ``net-0123abcd.pth``, the SHA-256 of the content must
            begin with it.

    Raises:
        UserError: The file is missing, is truncated, is not a checkpoint, has no tensors, does not match its hash,
            has another layout than a checkpoint, holds a fused model or numbers that are not finite, or asks for
            something that could run code.
    """
    path = str(path)
    if '://' not in path and not path.startswith('file:') and not Path(path).is_file():
        raise UserError(f'no checkpoint file {path}. Give the path of a .pth or .safetensors file.')
    check_hash(path)
    try:
        checkpoint = load_safely(path, 'cpu')
    except UserError:
        raise
    except Exception as error:  # a broken file can make torch.load raise anything, even an OSError
        if isinstance(error, URLError) or isinstance(error, OSError) and error.filename is not None:
            # The network or the file system failed, so the file itself may be fine.
            raise UserError(f'cannot read the checkpoint {path}: {error}') from error
        raise UserError(
            f'cannot read the checkpoint {path}: {_first_line(error)}. The file is truncated or is not a checkpoint. '
            'Download or copy it again, or give another file.'
        ) from error
    _check_layout(checkpoint, path)
    state = tensors_of(checkpoint)
    if not state:
        raise UserError(f'{path} has no named tensors. Give a checkpoint with a state_dict.')
    refuse_fused(state, path)
    check_finite(state, path)
    return Checkpoint(state, checkpoint.get('meta') or {})


def _check_layout(checkpoint: Any, path: str) -> None:
    """Check the types in a loaded file, which pickle does not limit.

    Raises:
        UserError: The file is not a dict of tensors by name, alone or as ``state_dict``, or its metadata has another
            form than MMEngine's.
    """
    if not isinstance(checkpoint, dict):
        raise UserError(
            f'{path} holds a {type(checkpoint).__name__}; a checkpoint is a dict of tensors by name. Give another file.'
        )
    state = checkpoint.get('state_dict', checkpoint)
    meta = checkpoint.get('meta') or {}
    dataset = (meta.get('dataset_meta') or {}) if isinstance(meta, dict) else {}
    classes = (dataset.get('classes') or ()) if isinstance(dataset, dict) else ()
    for what, value, kind, expected in (
        ('state_dict', state, dict, 'a dict of tensors by name'),
        ('meta', meta, dict, 'a dict'),
        ('dataset_meta', dataset, dict, 'a dict'),
        ('list of classes', classes, (list, tuple), 'a list of names'),
    ):
        if not isinstance(value, kind):
            raise UserError(
                f'{path} is damaged, or another program wrote it: its {what} is a {type(value).__name__}, and '
                f'{expected} was expected. Give another file.'
            )
    for what, names in (('tensors', state), ('classes', classes)):
        others = [name for name in names if not is_readable(name)]
        if others:
            raise UserError(
                f'{path} is damaged, or another program wrote it: {len(others)} of its {what} have names that are no '
                f'readable texts, for example {others[0]!r}. Give another file.'
            )
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and not _is_plain(tensor):
            form = f'{tensor.dtype}, {tensor.layout}, on {tensor.device}'.replace('torch.', '')
            raise UserError(
                f'{path} holds the tensor {name} in a form that no network here takes ({form}). Save the weights as '
                'plain tensors of floating-point numbers or integers, on the CPU, and before they are quantised.'
            )
        if isinstance(tensor, Tensor) and tensor.nbytes > tensor.untyped_storage().nbytes():
            raise UserError(
                f'{path} holds the tensor {name} as an expanded view of fewer numbers, so a small file could fill the '
                'memory. Save it with contiguous().'
            )


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor holds numbers that a network can copy as they are."""
    plain = value.layout is torch.strided and not (value.is_nested or value.is_quantized or value.is_meta)
    # Only some operations know the numbers of 8 bits.
    return plain and not value.is_complex() and (not value.is_floating_point() or value.element_size() > 1)


def check_finite(state: dict[str, Tensor], path: str) -> None:
    """Check that all numbers of a model are finite in float32, and that no variance is negative.

    Args:
        state: The tensors by name.
        path: The file, for the message.

    Raises:
        UserError: Some are not.
    """
    # A model has float32, in which a number of a float64 file may be infinite.
    bad = [
        key for key, value in state.items() if value.is_floating_point() and not bool(value.float().isfinite().all())
    ]
    negative = [key for key, value in state.items() if key.endswith('running_var') and bool((value < 0).any())]
    if negative:
        raise UserError(f'{path} is damaged: it has negative variances ({examples(negative)}). Give another file.')
    if bad:
        raise UserError(
            f'{path} has numbers that are infinite or not a number in {len(bad)} of {len(state)} tensors '
            f'({examples(bad)}), as after training with too high a learning rate. Give an earlier checkpoint.'
        )


def refuse_fused(state: dict[str, Tensor], path: str) -> None:
    """Refuse the tensors of a fused model.

    Args:
        state: The tensors by name.
        path: The file, for the message.

    Raises:
        UserError: A part of the model is fused.
    """
    if any(f'.{key}'.endswith(f'.{FUSED_MARK}.mark') for key in state):
        raise UserError(
            f'{path} is the checkpoint of a fused model: its BatchNorms are folded into its convolutions, so the model '
            'of a config can neither load it nor go on training from it. Give the checkpoint that was fused, and call '
            'fuse after loading it.'
        )


def tensors_of(checkpoint: Any) -> dict[str, Tensor]:
    """The tensors of a loaded checkpoint or state dict by name, without the prefix of a wrapper."""
    if not isinstance(checkpoint, dict):
        return {}
    state = checkpoint.get('state_dict', checkpoint)
    averaging = 'steps' in state  # torch's AveragedModel stores its count of updates next to the module
    return {
        re.sub(r'^module\.', '', key): value
        for key, value in state.items()
        if isinstance(value, Tensor) and not (averaging and key == 'steps')
    }


def write_checkpoint(path: str, checkpoint: Checkpoint) -> None:
    """Write a checkpoint completely or not at all.

    Args:
        path: A .pth file for OpenMMLab's layout, or a .safetensors file, which holds the metadata as JSON.
        checkpoint: The tensors and the metadata.

    Raises:
        UserError: The metadata cannot be written as JSON, which a .safetensors file needs. Nothing is written.
    """
    state, meta = checkpoint
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(path)) as part:
        if Path(path).suffix == '.safetensors':
            from safetensors.torch import save  # save_file makes a file that only its owner can read

            try:
                text = json.dumps(meta, default=str)
            # A key may be a tuple, and a dict may hold itself.
            except (TypeError, ValueError, RecursionError) as error:
                raise UserError(
                    f'the metadata for {path} cannot be written as JSON: {error}. Write a .pth file instead.'
                ) from None
            # It refuses tensors that share their memory, as those of layers that a model has twice.
            copies = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()}
            part.write_bytes(save(copies, metadata=dict(meta=text)))
        else:
            # Given a path, torch.save stores the file's name in the content, so the hash would depend on the name.
            buffer = io.BytesIO()
            torch.save(dict(meta=meta, state_dict=state), buffer)
            part.write_bytes(buffer.getvalue())


@CheckpointLoader.register_scheme(prefixes=r'[^:]*\.safetensors$')
def load_safetensors(path: str, map_location: Any = None) -> dict[str, Any]:
    """Load a local safetensors file in the layout of a .pth file. MMEngine's configs can then name such a file."""
    from safetensors import safe_open

    with safe_open(path, framework='pt', device=str(map_location or 'cpu')) as file:
        meta = parse_json((file.metadata() or {}).get('meta', '{}'))
        return without_program(dict(meta=meta, state_dict={key: file.get_tensor(key) for key in file.keys()}))


@CheckpointLoader.register_scheme(prefixes=('file:', r'https?://.*\.safetensors$'))
def load_safely(path: str, map_location: Any = None) -> Any:
    """Load a file without running code in it.

    MMEngine loads two kinds of URL by this function that it cannot load itself: ``file:``, and safetensors files on
    the network.

    Args:
        path: A path or a URL, see :func:`read_checkpoint`.
        map_location: See ``torch.load``. Defaults to None.

    Raises:
        UserError: The file is missing or damaged, or asks for something that could run code.
    """
    if '://' in path and not HTTP.match(path) and not path.startswith('file:'):
        with only_weights():
            return CheckpointLoader.load_checkpoint(path, map_location)
    file = local_file(path)
    return (load_safetensors if Path(file).suffix == '.safetensors' else load_pth)(file, map_location)


def use_safe_loaders() -> None:
    """Put our loaders in the place of MMEngine's, for all checkpoints, annotations and proposals that a run loads.

    MMEngine's loaders of checkpoints run the code in a file if it cannot be read without, and those of pickled and YAML
    files always do.
    """
    use_safe_handlers()
    CheckpointLoader.register_scheme(prefixes='', loader=load_pth, force=True)
    CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), loader=load_safely, force=True)


def local_file(path: str) -> str:
    """The local file for a path or a URL. A file on the network is downloaded once, into PyTorch's cache.

    Raises:
        UserError: The file does not exist, cannot be downloaded, or does not match the hash in its name. A download
            that fails stores nothing.
    """
    if path.startswith('file:'):
        file = Path(unquote(urlsplit(path).path))
    elif HTTP.match(path):
        file = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlsplit(path).path).name
        if is_main_process() and not file.is_file():
            try:
                _download(path, file)
            except UserError:
                barrier()  # the other processes wait for this one; they find no file and fail too
                raise
        barrier()
    else:
        file = Path(path)
    if not file.is_file():
        raise UserError(f'no checkpoint file {path}')
    return str(file)


def check_hash(path: str) -> None:
    """Check a file against the hash in its name, if the name has one.

    Raises:
        UserError: The content does not match. If the file came from the network, it is removed from the cache.
    """
    expected = _expected_hash(path)
    if expected is None or '://' in path and not re.match('(https?|file):', path):
        return
    file = local_file(path)
    digest = hashlib.sha256()
    with open(file, 'rb') as content:
        for block in iter(lambda: content.read(1 << 20), b''):
            digest.update(block)
    if not digest.hexdigest().startswith(expected):
        if HTTP.match(path):
            Path(file).unlink(missing_ok=True)  # another process may have removed it
        raise _wrong_hash(path, f'expected "{expected}", got "{digest.hexdigest()}"')


def pretrained_of(init_cfg: dict | Sequence[dict] | None) -> list[dict]:
    """The entries of a module's ``init_cfg`` that load a checkpoint."""
    init_cfgs = [init_cfg] if isinstance(init_cfg, dict) else init_cfg or []
    return [cfg for cfg in init_cfgs if cfg['type'] in ('Pretrained', PretrainedInit)]


def _download(url: str, file: Path) -> None:
    """Download a file completely or not at all."""
    expected = _expected_hash(url)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), hash_prefix=expected)
    except OSError as error:  # includes the errors of urllib
        raise UserError(f'cannot download {url}: {error}') from error
    except RuntimeError as error:
        if expected is None:
            raise
        raise _wrong_hash(url, str(error)) from error


def _expected_hash(path: str) -> str | None:
    """The hash in the name of a file, if there is one."""
    match = HASH.search(urlsplit(path).path if '://' in path else path)
    return match and match[1]


def _wrong_hash(path: str, difference: str) -> UserError:
    return UserError(
        f'{path} does not match the SHA-256 in its name: {difference}. The file is damaged or was changed. '
        'Download or copy it again, or remove the hash from its name.'
    )


def _first_line(error: Exception) -> str:
    """The first line of a message, without PyTorch's advice to run the code in a file."""
    if 'weights_only' in str(error):
        return 'it has another format than the .pth files of PyTorch'
    return (str(error).strip().splitlines() or [''])[0].rstrip('.') or type(error).__name__
