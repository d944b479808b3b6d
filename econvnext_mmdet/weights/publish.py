"""Preparing a checkpoint for publication: only the weights, complete and checked."""

import ast
import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ..utils.errors import UserError
from ..utils.files import check_extension, whole_file
from ..utils.model import build_model, unscaled_sample
from .checkpoint import CHECKPOINT_EXTENSIONS, Checkpoint, read_checkpoint, write_checkpoint
from .loading import check_fits

SHAPE = (128, 160)  # height and width of the test image, in pixels


def publish(source: str, out: str, cfg: Config | None = None) -> str:
    """Write a checkpoint without the parts that only training needs. The file has its own hash in its name.

    The states of the optimiser and of the schedulers and the messages of hooks are left out. If training kept an
    exponential moving average (EMA) of the weights, only the EMA weights are written. The model is built with the
    weights of the source and again with the weights of the new file. Both models must give bit-identical outputs.

    Args:
        source: The checkpoint, see :func:`~econvnext_mmdet.weights.checkpoint.read_checkpoint`.
        out: The file to write, ``.pth`` or ``.safetensors``. The hash is inserted before the file extension.
        cfg: The model's config. Defaults to None: the one that MMEngine stored in the checkpoint.

    Returns:
        The path of the file, such as ``net-0123abcd.pth`` with the first eight digits of its SHA-256.

    Raises:
        UserError: The source is unreadable, there is no config, or the weights do not fit the config's model. Nothing
            is written.
        RuntimeError: The outputs of the two models differ. Nothing is written.
    """
    check_extension(out, CHECKPOINT_EXTENSIONS, 'the published file')
    checkpoint = read_checkpoint(source)
    if cfg is None:
        if 'cfg' not in checkpoint.meta:
            raise UserError(f'{source} does not contain the config of its model. Give the config with --config.')
        cfg = _config_in(checkpoint.meta['cfg'], source)
    expected = _outputs(cfg, checkpoint, source)
    meta = {key: value for key, value in checkpoint.meta.items() if key != 'hook_msgs'}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    # The file has a temporary name until its hash is known.
    unnamed = Path(out).with_name(f'unnamed-{os.getpid()}{Path(out).suffix}')
    with whole_file(unnamed) as part:
        write_checkpoint(str(part), Checkpoint(checkpoint.state, meta))
        found = _outputs(cfg, read_checkpoint(str(part)), str(part))
        if len(found) != len(expected) or not all(map(torch.equal, found, expected)):
            raise RuntimeError(f'the outputs of the model with the published file differ from those with {source}')
        digest = hashlib.sha256(part.read_bytes()).hexdigest()[:8]
        named = Path(out).with_name(f'{Path(out).stem}-{digest}{Path(out).suffix}')
        os.replace(part, named)
    return str(named)


def _config_in(text: Any, path: str) -> Config:
    """The config that a checkpoint carries as text. The text is only read: Python would run whatever it says.

    MMEngine writes one assignment per setting, with values of ``dict(...)``, lists, texts and numbers.

    Args:
        text: The text.
        path: The checkpoint, for the message.

    Raises:
        UserError: The text has something else.
    """
    settings, line = {}, 0
    try:
        for statement in ast.parse(text).body:
            line = statement.lineno
            if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
                raise ValueError('no assignment')
            settings[statement.targets[0].id] = _value_of(statement.value)
        return Config(settings)
    except (SyntaxError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f'the config in {path} is more than a list of settings (line {line}: {error}), so it is not read. Give the '
            'config with --config.'
        ) from None


def _value_of(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {str(keyword.arg): _value_of(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        return {_value_of(key): _value_of(value) for key, value in zip(node.keys, node.values) if key is not None}
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_value_of(value) for value in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    return ast.literal_eval(node)


def _outputs(cfg: Config, checkpoint: Checkpoint, path: str) -> list[Tensor]:
    """The outputs of the config's model with these weights, for a fixed image, as a flat list."""
    model = build_model(cfg).eval()
    check_fits(model, checkpoint.state, path, exact=True)
    model.load_state_dict(checkpoint.state, strict=False)  # the file may lack the counters of BatchNorms
    image = torch.rand(1, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # The heads of two-stage detectors depend on proposals, which need the size of the image.
        return _flat(model(image, [unscaled_sample(SHAPE)], mode='tensor'))


def _flat(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in _flat(output)]
