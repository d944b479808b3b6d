"""How fast a config trains, without its data."""
import time
from typing import NamedTuple, Optional, Tuple

import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from ..datasets.checks import is_classification
from ..errors import UserError
from .run import errors_of_the_user, set_precision


class Speed(NamedTuple):
    """Of training, on one device.

    Attributes:
        images (float): Images a second.
        batch_size (int): Images a step.
        shape (tuple[int, int]): Height and width of an image in pixels.
        device (str): The device's name.
        memory (float, optional): The most GPU memory that was used, in GiB; None on a CPU.
    """
    images: float
    batch_size: int
    shape: Tuple[int, int]
    device: str
    memory: Optional[float]


def time_training(cfg: Config, shape: Tuple[int, int], batch_size: Optional[int] = None, steps: int = 10,
                  amp: bool = False) -> Speed:
    """Time training steps of a config's model on random images that lie in memory.

    What a step has: augmentation of the batch, forward and backward pass, the optimiser. What it has not: reading
    and transforming images, communication between processes. Two steps come before the clock starts.

    Args:
        cfg (Config): The config, of :func:`load_config`.
        shape (tuple[int, int]): Height and width of an image in pixels.
        batch_size (int, optional): Images a step. Defaults to None: that of the config.
        steps (int): Number of steps that are timed. Defaults to 10.
        amp (bool): Mixed precision. Defaults to False.

    Returns:
        Speed: The result.

    Raises:
        UserError: Mixed precision without a GPU, a batch of one image for a classifier, whose BatchNorm needs two,
            or an error in the config.
    """
    if 'model' not in cfg:
        raise UserError('the config has no model')
    set_precision(cfg, amp)
    batch_size = batch_size or cfg.train_dataloader.batch_size
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    if is_classification(cfg) and batch_size < 2:
        raise UserError('a classifier trains on two images a step at least: its BatchNorm has one value an image')
    device = get_device()
    on_gpu = device.startswith('cuda')
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with errors_of_the_user():
        if cfg.get('data_preprocessor'):
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(cfg.model).to(device).train()
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = _random_batch(cfg, model, batch_size, shape)
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    for step in range(steps + 2):
        if step == 2:
            wait()
            start = time.perf_counter()
        model.train_step(data, optim_wrapper)
    wait()
    seconds = time.perf_counter() - start
    return Speed(
        steps * batch_size / seconds, batch_size, shape,
        torch.cuda.get_device_name() if on_gpu else f'CPU, {torch.get_num_threads()} threads',
        torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None)


def _random_batch(cfg: Config, model: torch.nn.Module, batch_size: int, shape: Tuple[int, int]) -> dict:
    """A batch as the data loader gives it, of images with a label or with some boxes, and masks as needed."""
    if is_classification(cfg):
        from mmpretrain.structures import DataSample
        images = torch.randint(0, 256, (batch_size, 3, *shape), dtype=torch.uint8)
        labels = torch.randint(0, cfg.model.head.num_classes, (batch_size, ))
        return dict(inputs=images, data_samples=[DataSample().set_gt_label(label) for label in labels])
    head = cfg.model.get('bbox_head') or cfg.model.get('roi_head', {}).get('bbox_head')
    if not head:
        raise UserError(f'a {cfg.model.type} is neither a detector with a bbox_head nor a classifier')
    head = head[0] if isinstance(head, (list, tuple)) else head
    # 7 is what an image of COCO has on average.
    return demo_mm_inputs(batch_size, [[3, *shape]] * batch_size, num_items=[7] * batch_size,
                          num_classes=head.num_classes, with_mask=model.with_mask)
