"""Making a checkpoint ready to give away: the weights that are tested, whole and checked."""
import hashlib
import os
from pathlib import Path
from typing import Any, List, Optional

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

from .checkpoint import Checkpoint, Differences, named_tensors, read_checkpoint, write_checkpoint
from .complexity import unscaled_sample
from .engine.run import errors_of_the_user
from .errors import UserError
from .files import whole_file

SHAPE = (128, 160)  # of the image on which outputs are compared, in pixels


def publish(source: str, out: str, cfg: Optional[Config] = None) -> str:
    """Write a checkpoint's weights without what training alone needs, under a name with their hash.

    Left out are the optimiser, the schedulers, the messages of hooks and, of a training with an exponential moving
    average, the weights that are not averaged. The model is built twice, from the source and from the file, and
    must give the same outputs, bit for bit.

    Args:
        source (str): As :func:`~econvnext_mmdet.checkpoint.read_checkpoint` takes it.
        out (str): A name that ends in ``.pth`` or ``.safetensors``, before which the hash is put.
        cfg (Config, optional): The model's config. Defaults to None: the one that MMEngine stored with the weights.

    Returns:
        str: The file, as ``net-0123abcd.pth`` with the first eight digits of its SHA-256.

    Raises:
        UserError: The source is unreadable, no config is known, or the weights are not those of its model; nothing
            is written.
    """
    if Path(out).suffix not in ('.pth', '.safetensors'):
        raise UserError(f'expected a name that ends in .pth or .safetensors for the published file; got {out}')
    checkpoint = read_checkpoint(source)
    if cfg is None:
        if 'cfg' not in checkpoint.meta:
            raise UserError(f'{source} does not hold the config of its model; give it')
        cfg = Config.fromstring(checkpoint.meta['cfg'], file_format='.py')
    expected = _outputs(cfg, checkpoint, source)
    meta = {key: value for key, value in checkpoint.meta.items() if key != 'hook_msgs'}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    # Under a name of its own until its hash is known.
    unnamed = Path(out).with_name(f'unnamed-{os.getpid()}{Path(out).suffix}')
    with whole_file(unnamed) as part:
        write_checkpoint(str(part), Checkpoint(checkpoint.state, meta))
        found = _outputs(cfg, read_checkpoint(str(part)), str(part))
        if len(found) != len(expected) or not all(map(torch.equal, found, expected)):
            raise RuntimeError(f'the model gives other outputs from the published file than from {source}')
        digest = hashlib.sha256(part.read_bytes()).hexdigest()[:8]
        named = Path(out).with_name(f'{Path(out).stem}-{digest}{Path(out).suffix}')
        os.replace(part, named)
    return str(named)


def _outputs(cfg: Config, checkpoint: Checkpoint, path: str) -> List[Tensor]:
    """What a config's model with these weights makes of a fixed image: its tensors, out of their lists."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    with errors_of_the_user():
        model: nn.Module = MODELS.build(cfg.model)
    Differences.between(named_tensors(model), checkpoint.state).refuse(type(model).__name__, path, exact=True)
    model.load_state_dict(checkpoint.state, strict=False)  # BN's counters need not be there
    image = torch.rand(1, 3, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # Of two-stage detectors the heads' outputs depend on proposals, which need the image's size.
        return _flat(model.eval()(image, [unscaled_sample(SHAPE)], mode='tensor'))


def _flat(outputs: Any) -> List[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in _flat(output)]
