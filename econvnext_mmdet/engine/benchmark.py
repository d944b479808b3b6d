"""How fast a config trains and detects, without its data."""
import platform
import time
from pathlib import Path
from statistics import median
from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from rich.console import Console
from rich.progress import track

from ..complexity import build_model, unscaled_sample
from ..datasets.checks import is_classification
from ..errors import UserError
from ..models.reparam import fold_branches
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
    and transforming images, a random size for each batch, communication between processes. It is a step of the last
    epoch, where settings change with the epoch. Two steps come before the clock starts.

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
        preprocessor = cfg.model.get('data_preprocessor') or {}
        if preprocessor.get('batch_augments'):
            preprocessor.batch_augments = [augment for augment in preprocessor.batch_augments
                                           if augment.type != 'BatchSyncRandomResize'] or None
        model = MODELS.build(cfg.model).to(device).train()
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = _random_batch(cfg, model, batch_size, shape)
    MessageHub.get_current_instance().update_info('epoch', cfg.train_cfg.get('max_epochs', 1) - 1)
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
        _device_name(on_gpu),
        torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None)


def time_inference(networks: Sequence[Tuple[Config, Tuple[int, int]]], runs: int = 10) -> Tuple[List[float], str]:
    """Time one image through backbone, neck and head of configs' models, without decoding and NMS.

    The models are in evaluation, their branches folded as for inference, their weights random; the image lies in
    memory. Of a two-stage detector, the proposals are decoded and go through NMS all the same. After two passes
    each, the models are timed in turn, so that other work on the machine slows all alike. They are all held in
    memory. How far it is stands on stderr, where that is a terminal.

    Args:
        networks (Sequence[tuple[Config, tuple[int, int]]]): Configs, of :func:`load_config`, and for each the height
            and width of its image in pixels.
        runs (int): Number of passes that are timed of each. Defaults to 10.

    Returns:
        tuple[list[float], str]: The median of each in ms, and the device's name, with the threads of a CPU.

    Raises:
        UserError: An error in a config.
    """
    device = get_device()
    on_gpu = device.startswith('cuda')
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    calls = [(fold_branches(build_model(cfg)).to(device), torch.rand(1, 3, *shape, device=device),
              [unscaled_sample(shape)]) for cfg, shape in networks]
    times: List[List[float]] = [[] for _ in calls]
    console = Console(stderr=True)
    with torch.no_grad():
        # A bar that refreshes itself does so in a thread, beside what is timed.
        for _ in track(range(runs + 2), 'measuring', console=console, disable=not console.is_terminal,
                       auto_refresh=False):
            for (model, image, samples), passes in zip(calls, times):
                wait()
                start = time.perf_counter()
                model(image, samples, mode='tensor')
                wait()
                passes.append(1000 * (time.perf_counter() - start))
    return [median(passes[2:]) for passes in times], _device_name(on_gpu)


def _device_name(on_gpu: bool) -> str:
    """The GPU's name, or the CPU's and the number of PyTorch's threads."""
    if on_gpu:
        return torch.cuda.get_device_name()
    info = Path('/proc/cpuinfo')  # of Linux, where platform knows no more than the architecture
    lines = info.read_text(encoding='utf-8').splitlines() if info.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    threads = torch.get_num_threads()
    return f'CPU, {(names or [platform.machine()])[0]}, {threads} thread{"s" if threads > 1 else ""}'


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
