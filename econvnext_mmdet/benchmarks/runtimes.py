"""Preparing a network for one call after another in a runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..deploy.forms import form_of
from ..deploy.libraries import library
from ..deploy.onnx_file import INPUT, OPSET, build_onnx
from ..deploy.runtime import compile_openvino, onnxruntime_session
from ..utils.errors import UserError
from ..utils.memory import keep_freed_memory
from .networks import TensorNetwork, build, for_inference
from .peers import Entry

if TYPE_CHECKING:
    import onnx

TORCH = ('eager', 'channels_last', 'compiled', 'train')
RUNTIMES = (*TORCH[:3], 'onnxruntime', 'openvino', 'onnxruntime-int8', 'openvino-int8', 'train')
CALIBRATION = 4  # random images; the ranges that they give have no influence on the speed


class Job(NamedTuple):
    """One network at one size of its input."""

    entry: Entry
    batch_size: int
    shape: tuple[int, int]


def default_runtimes() -> list[str]:
    """The runtimes to measure if the user names none: those that the device has, without compilation."""
    return ['eager'] if torch.cuda.is_available() else ['eager', 'onnxruntime', 'openvino']


def check_runtimes(runtimes: Sequence[str], batch_size: int) -> None:
    """Check that the device and the size of the batch allow the runtimes, and that their libraries are here.

    Args:
        runtimes: The names of runtimes.
        batch_size: Images per call.

    Raises:
        UserError: A runtime is unknown or not for this device, the batch is too small or too large for it, or a library
            is missing.
    """
    for name in runtimes:
        if name not in RUNTIMES:
            raise UserError(f'no runtime {name}. There are {", ".join(RUNTIMES)}.')
        if torch.cuda.is_available() and name not in TORCH:
            raise UserError(f'on a GPU, only {", ".join(TORCH)} are measured; remove {name}')
        if name.endswith('-int8') and batch_size > 1:
            raise UserError(f'{name} is measured with one image per call; got --batch-size {batch_size}')
        if name == 'train' and batch_size < 2:
            raise UserError(
                'the runtime train needs --batch-size 2 or more, because a BatchNorm needs more than one value'
            )
        if name not in TORCH:
            for needed in ('onnx', 'onnxscript', name.removesuffix('-int8')):
                library(needed)
        if name == 'openvino-int8':
            library('nncf')


def prepare(job: Job, runtime: str, threads: int) -> Callable[[], object]:
    """Prepare a function without arguments that runs a network once, on random images in memory.

    Args:
        job: The network, with the size of its input.
        runtime: A name from ``RUNTIMES``.
        threads: The number of CPU threads. PyTorch must be set to it already.

    Raises:
        UserError: A library is missing.
    """
    with redirect_stdout(sys.stderr):  # exporters report to stdout, which is for the results
        return _prepare(job, runtime, threads)


def _prepare(job: Job, runtime: str, threads: int) -> Callable[[], object]:
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    keep_freed_memory()  # as tools/train.py and tools/infer.py do
    torch.manual_seed(0)
    images = torch.rand(job.batch_size, 3, *job.shape, device=device)
    network = build(job.entry).to(device)
    if runtime == 'train':
        return _training_step(network.train(), images)
    network = for_inference(network)
    if runtime in TORCH:
        layout = torch.channels_last if runtime == 'channels_last' else torch.contiguous_format
        images = images.to(memory_format=layout)
        module: nn.Module = network.to(memory_format=layout)  # type: ignore[call-overload]
        return _inference(torch.compile(module) if runtime == 'compiled' else module, images)
    model, array = _onnx(network, images)
    open_model = _onnxruntime if runtime.startswith('onnxruntime') else _openvino
    return open_model(model, array, runtime.endswith('-int8'), threads)


def _inference(network: Callable[[Tensor], object], images: Tensor) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            network(images)

    return call


def _training_step(network: nn.Module, images: Tensor) -> Callable[[], object]:
    """The forward and backward pass. The loss is the sum of the means of all outputs."""

    def call() -> None:
        network.zero_grad(set_to_none=True)
        outputs = network(images)
        outputs = outputs if isinstance(outputs, (tuple, list)) else [outputs]
        loss = torch.stack([output.mean() for output in outputs if output.requires_grad]).sum()
        loss.backward()

    return call


def _onnx(network: nn.Module, images: Tensor) -> tuple[onnx.ModelProto, np.ndarray]:
    """Export a network with the fixed size of its input, and convert its input.

    A two-stage detector chooses regions depending on the data, which cannot be exported directly. It takes the form of
    ``tools/export.py``, from uint8 images to detections.
    """
    if isinstance(network, TensorNetwork) and hasattr(network.model, 'roi_head'):
        return build_onnx(form_of(network.model), OPSET, {}), (255 * images).byte().numpy()
    with torch.no_grad():
        exported = torch.onnx.export(
            network, (images,), input_names=[INPUT], opset_version=OPSET, dynamo=True, verbose=False
        )
    assert exported is not None
    return exported.model_proto, images.numpy()


def _onnxruntime(model: onnx.ModelProto, images: np.ndarray, int8: bool, threads: int) -> Callable[[], object]:
    if int8:
        from ..deploy.int8 import quantize_onnx  # the import takes seconds

        model = quantize_onnx(model, _calibration(images), {})
    session = onnxruntime_session(model.SerializeToString(), threads)
    inputs = {session.get_inputs()[0].name: images}
    return lambda: session.run(None, inputs)


def _openvino(model: onnx.ModelProto, images: np.ndarray, int8: bool, threads: int) -> Callable[[], object]:
    graph: Any = library('openvino').Core().read_model(model.SerializeToString())
    graph.reshape(images.shape)  # the form of a two-stage detector has a dynamic size
    if int8:
        from ..deploy.int8 import quantize_openvino  # the import takes seconds

        graph = quantize_openvino(graph, _calibration(images))
    compiled = compile_openvino(graph, threads)
    return lambda: compiled(images)


def _calibration(images: np.ndarray) -> list[np.ndarray]:
    """Random images (3, H, W) of the type of ``images``."""
    rng = np.random.default_rng(0)
    return [rng.permutation(images[0].reshape(-1)).reshape(images.shape[1:]) for _ in range(CALIBRATION)]
