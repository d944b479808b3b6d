"""Timing the training and the inference of configs, without their data."""

import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import torch
from mmdet.testing import demo_mm_inputs
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from torch import nn

from ..engine.config_values import check_values
from ..engine.training import set_precision
from ..models.fuse import fuse
from ..utils.config import explain_user_errors, is_classification, type_name
from ..utils.errors import UserError
from ..utils.model import build_model, unscaled_sample
from ..utils.progress import progress_bar
from .complexity import build_network, explain_size
from .device import device_name, wait

# Passes and steps before the clock starts.
WARM_UP = 2


class Speed(NamedTuple):
    """The speed of training on one device.

    Attributes:
        images: Images per second.
        batch_size: Images per step.
        shape: Height and width of an image in pixels.
        device: The name of the device.
        memory: The peak of the used GPU memory in GiB. None on a CPU.
    """

    images: float
    batch_size: int
    shape: tuple[int, int]
    device: str
    memory: float | None


def time_training(
    cfg: Config, shape: tuple[int, int], batch_size: int | None = None, steps: int = 10, amp: bool = False
) -> Speed:
    """Time training steps of a config's model on random images in memory.

    A step consists of the augmentation of the batch, the forward pass, the backward pass and the update of the weights.
    It does not include reading and transforming images, a random size per batch, or communication between processes. If
    settings change with the epoch, the timed steps use the settings of the last epoch. Two steps run before the clock
    starts.

    Args:
        cfg: The config, from :func:`~econvnext_mmdet.utils.config.load_config`. It is changed.
        shape: Height and width of an image in pixels.
        batch_size: Images per step. Defaults to None: the batch size of the config.
        steps: The number of timed steps. Defaults to 10.
        amp: Use mixed precision. Defaults to False.

    Returns:
        The result.

    Raises:
        UserError: Mixed precision without a GPU; a batch of one image for a classifier, whose BatchNorm needs two; an
            error in the config; or images of a size that the model cannot process.
    """
    check_values(cfg)
    if cfg.get('optim_wrapper') is None:
        raise UserError('the config has no optim_wrapper; give a config that can be trained')
    set_precision(cfg, amp)
    batch_size = batch_size or (cfg.get('train_dataloader') or {}).get('batch_size')
    if batch_size is None:
        raise UserError('the config has no train_dataloader.batch_size; give --batch-size')
    if is_classification(cfg) and batch_size < 2:
        raise UserError(
            f'a classifier needs at least 2 images per step, because its BatchNorm gets one value per image; got '
            f'{batch_size}'
        )
    device = get_device()
    on_gpu = device.startswith('cuda')
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    _remove_random_sizes(cfg)
    model = build_model(cfg).to(device).train()
    with explain_user_errors():
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = _random_batch(cfg, model, batch_size, shape)
    epochs = (cfg.get('train_cfg') or {}).get('max_epochs', 1)
    MessageHub.get_current_instance().update_info('epoch', epochs - 1)
    with explain_size(shape):
        for _ in range(WARM_UP):
            model.train_step(data, optim_wrapper)
    wait(on_gpu)
    start = time.perf_counter()
    for _ in range(steps):
        model.train_step(data, optim_wrapper)
    wait(on_gpu)
    seconds = time.perf_counter() - start
    return Speed(
        steps * batch_size / seconds,
        batch_size,
        shape,
        device_name(on_gpu),
        torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    )


def time_inference(networks: Sequence[tuple[Config, tuple[int, int]]], passes: int = 10) -> tuple[list[float], str]:
    """Time one image through the backbone, neck and head of several models, without decoding and NMS.

    The models are in evaluation mode with random weights, and fused as for inference. The image is in memory. In a
    two-stage detector, the proposals are still decoded and go through NMS. After two passes each, the models are timed
    in turn, so that other work on the machine slows all of them down equally. All models are in memory at the same
    time. If stderr is a terminal, it shows a progress bar.

    Args:
        networks: Pairs of a config, from :func:`~econvnext_mmdet.utils.config.load_config`, and the height and width
            of its image in pixels.
        passes: The number of timed passes per model. Defaults to 10.

    Returns:
        The median time of each model in milliseconds, and the name of the device. The name of a CPU includes the
        number of threads.

    Raises:
        UserError: An error in a config.
    """
    device = get_device()
    on_gpu = device.startswith('cuda')
    calls = [
        (
            fuse(build_network(cfg)).to(device),
            torch.rand(1, 3, *shape, device=device),
            [unscaled_sample(shape)],
        )
        for cfg, shape in networks
    ]
    times: list[list[float]] = [[] for _ in calls]
    # A thread that refreshes the bar would run next to the timed code.
    with torch.no_grad(), progress_bar(auto_refresh=False) as progress:
        for _ in progress.track(range(WARM_UP + passes), description='measuring'):
            for (model, image, samples), measured in zip(calls, times):
                with explain_size(samples[0].img_shape):
                    wait(on_gpu)
                    start = time.perf_counter()
                    model(image, samples, mode='tensor')
                    wait(on_gpu)
                    measured.append(1000 * (time.perf_counter() - start))
    return [median(measured[WARM_UP:]) for measured in times], device_name(on_gpu)


def _remove_random_sizes(cfg: Config) -> None:
    """Remove the preprocessor's step that resizes each batch to a random size."""
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if preprocessor.get('batch_augments'):
        kept = [augment for augment in preprocessor['batch_augments'] if type_name(augment) != 'BatchSyncRandomResize']
        preprocessor['batch_augments'] = kept or None


def _random_batch(cfg: Config, model: nn.Module, batch_size: int, shape: tuple[int, int]) -> dict:
    """A batch like that of a data loader: images with labels, or with boxes and, if the model needs them, masks."""
    if is_classification(cfg):
        from mmpretrain.structures import DataSample

        images = torch.randint(0, 256, (batch_size, 3, *shape), dtype=torch.uint8)
        labels = torch.randint(0, cfg.model.head.num_classes, (batch_size,))
        return dict(inputs=images, data_samples=[DataSample().set_gt_label(label) for label in labels])
    head = cfg.model.get('bbox_head') or cfg.model.get('roi_head', {}).get('bbox_head')
    if not head:
        raise UserError(
            f'cannot time a {cfg.model.type}: it is neither a classifier nor a detector with a bbox_head; remove its '
            'config from the command'
        )
    head = head[0] if isinstance(head, (list, tuple)) else head
    # An image of COCO has 7 objects on average.
    return demo_mm_inputs(
        batch_size,
        [[3, *shape]] * batch_size,
        num_items=[7] * batch_size,
        num_classes=head.num_classes,
        with_mask=model.with_mask,
    )
