"""Preparing a checkpoint for publication: only the weights, complete and checked."""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ..utils.cli import is_trusted
from ..utils.errors import UserError, examples, repeated
from ..utils.files import check_extension, whole_file
from ..utils.model import build_model, number_of_classes, unscaled_sample
from .checkpoint import CHECKPOINT_EXTENSIONS, Checkpoint, read_checkpoint, write_checkpoint
from .loading import check_fits

SHAPE = (128, 160)  # height and width of the test image, in pixels


def publish(source: str, out: str, cfg: Config | None = None, half: bool = False) -> str:
    """Write a checkpoint without the parts that only training needs. The file has its own hash in its name.

    The states of the optimiser and of the schedulers and the messages of hooks are left out. If training kept an
    exponential moving average (EMA) of the weights, only the EMA weights are written. The model is built with the
    weights of the source and again with the weights of the new file. Both models must give bit-identical outputs.

    Args:
        source: The checkpoint, see :func:`~econvnext_mmdet.weights.checkpoint.read_checkpoint`.
        out: The file to write, ``.pth`` or ``.safetensors``. The hash is inserted before the file extension.
        cfg: The model's config. Defaults to None: the one that MMEngine stored in the checkpoint. It is only taken if
            the user trusts the file, because a config is a program.
        half: Round the weights to half precision, for a file of half the size. A model that loads it has float32
            weights with the rounded values. Defaults to False.

    Returns:
        The path of the file, such as ``net-0123abcd.pth`` with the first eight digits of its SHA-256.

    Raises:
        UserError: The source is unreadable, there is no config that may be used, the weights or the names of the
            classes do not fit the config's model, a .safetensors file cannot hold the metadata, or a number is too
            large for half precision. Nothing is written.
        RuntimeError: The outputs of the two models differ. Nothing is written.
    """
    check_extension(out, CHECKPOINT_EXTENSIONS, 'the published file')
    checkpoint = read_checkpoint(source)
    if half:
        checkpoint = _halve(checkpoint, source)
    if cfg is None:
        cfg = _config_in(checkpoint, source)
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


def _halve(checkpoint: Checkpoint, path: str) -> Checkpoint:
    """The checkpoint with all floating-point numbers in half precision.

    Raises:
        UserError: A number is too large for it.
    """
    state = {key: value.half() if value.is_floating_point() else value for key, value in checkpoint.state.items()}
    large = [key for key, value in state.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if large:
        raise UserError(
            f'{path} has numbers beyond {torch.finfo(torch.half).max:g} in {examples(large)}, which half precision '
            'does not have. Publish it without --half.'
        )
    return Checkpoint(state, checkpoint.meta)


def _config_in(checkpoint: Checkpoint, path: str) -> Config:
    """The config that MMEngine stored in a checkpoint, if the user trusts its author.

    Reading the text without running it would not be enough: a ``type`` can name any function of Python.

    Raises:
        UserError: There is no config, it is not trusted, or it cannot be read.
    """
    text = checkpoint.meta.get('cfg')
    if not isinstance(text, str):
        raise UserError(f'{path} does not contain the config of its model. Give the config with --config.')
    if not is_trusted():
        raise UserError(
            f'the config in {path} was not used: a config is a program, and this one may be from a stranger. Give the '
            'config of the model with --config. If you trust the file, give --trust-checkpoint instead.'
        )
    try:
        return Config.fromstring(text, '.py')
    except Exception as error:  # the text can do anything
        raise UserError(f'cannot read the config in {path}: {error}. Give the config with --config.') from error


def _outputs(cfg: Config, checkpoint: Checkpoint, path: str) -> list[Tensor]:
    """The outputs of the config's model with these weights, for a fixed image, as a flat list."""
    model = build_model(cfg).eval()
    check_fits(model, checkpoint.state, path, exact=True)
    number, classes = number_of_classes(model), checkpoint.classes
    # With a language model, num_classes is a number of tokens.
    if classes and number not in (None, len(classes)) and 'language_model' not in cfg.model:
        raise UserError(
            f'{path} names {len(classes)} classes ({examples(classes, most=5)}), and its model has {number}. Correct '
            'dataset_meta in the metadata of the file, or remove it.'
        )
    twice = repeated(classes or ())
    if twice is not None:
        raise UserError(f'{path} has two classes of the name {twice!r}. Correct dataset_meta in its metadata.')
    model.load_state_dict(checkpoint.state, strict=False)  # the file may lack the counters of BatchNorms
    image = torch.rand(1, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # The heads of two-stage detectors depend on proposals, which need the size of the image.
        outputs = _flat(model(image, [unscaled_sample(SHAPE)], mode='tensor'))
    if not all(bool(output.isfinite().all()) for output in outputs):
        raise UserError(
            f'the outputs of the model with {path} are infinite or not a number, so its weights are damaged. Give '
            'another checkpoint.'
        )
    return outputs


def _flat(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in _flat(output)]
