"""Running an exported file with ONNX Runtime or OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..utils.errors import UserError
from ..utils.files import check_no_pipe
from .libraries import library
from .metadata import EXPORT_AGAIN, SMALLEST_SIDE, Metadata
from .outputs import check_names, check_outputs

OPENVINO_FOLDER = '_openvino_model'  # as ultralytics names it
# The types of images that a file may take, by the names of ONNX Runtime and of OpenVINO.
IMAGE_TYPES = {'tensor(uint8)': np.uint8, 'tensor(float)': np.float32, 'u8': np.uint8, 'f32': np.float32}
LONGEST_REASON = 300  # characters


def is_exported(path: str) -> bool:
    """Whether a path is that of an exported file: an ``.onnx`` file, or OpenVINO's folder or ``.xml`` file."""
    return Path(path).suffix in ('.onnx', '.xml') or Path(path).is_dir() and any(Path(path).glob('*.xml'))


class _Session(Protocol):
    """A file that is open in a runtime."""

    metadata: dict[str, str]
    inputs: list[tuple[str, list]]  # the type and the shape of each input; a size that is no int is dynamic
    output_names: list[str]

    def run(self, images: np.ndarray) -> list[np.ndarray]: ...


class ExportedModel:
    """An exported file that is ready to run.

    Args:
        path: The ``.onnx`` file, or the folder or ``.xml`` file of OpenVINO.
        threads: The number of CPU threads. Defaults to None: the runtime decides.

    Attributes:
        metadata: What the file says about itself.
        runtime: 'ONNX Runtime' or 'OpenVINO'.
        dynamic: Whether the batch, the height and the width of the input are dynamic.

    Raises:
        UserError: The file is missing, is damaged or was not written by this package, or the runtime is not installed.
            Other programs may add metadata of this package to a file, so its inputs and outputs are checked, too.
    """

    def __init__(self, path: str, threads: int | None = None):
        self.path = path
        if not Path(path).exists():
            raise UserError(f'no exported file {path}')
        file = Path(path)
        if file.is_dir():
            found = sorted(file.glob('*.xml'))
            if len(found) != 1:
                raise UserError(
                    f'{path} is not a folder of an exported model: expected one .xml file, found {len(found)}'
                )
            (file,) = found
        check_no_pipe(file)
        check_no_pipe(file.with_suffix('.bin'))  # OpenVINO reads it with the .xml file
        kind, package = (_OnnxSession, 'onnxruntime') if file.suffix == '.onnx' else (_OpenVINOSession, 'openvino')
        version = library(package).__version__
        try:
            self._session: _Session = kind(file, threads)
        except Exception as error:  # the exceptions of the runtimes have no common base
            raise UserError(
                f'{package} {version} cannot open {file}: {_reason(error)}. The file is damaged, is no exported model, '
                'or needs a newer runtime. Export the checkpoint again with tools/export.py. For an old runtime, use a '
                'lower --opset.'
            ) from error
        self.runtime = 'ONNX Runtime' if file.suffix == '.onnx' else 'OpenVINO'
        self.metadata = Metadata.from_text(self._session.metadata, path)
        with self._as_exported():
            self._dtype, self._shape = _images_of(self._session.inputs)
            check_names(self._session.output_names, self.metadata.task)
        self.dynamic = not any(isinstance(self._shape[i], int) for i in (0, 2, 3))

    def __call__(self, images: np.ndarray, smallest: int = SMALLEST_SIDE) -> dict[str, np.ndarray]:
        """Run the model.

        Args:
            images: Images (N, 3, H, W), BGR from 0 to 255, as uint8 or floats. They are converted to the type of the
                file's input; floats are rounded if that is uint8.
            smallest: The smallest height and width to accept, in pixels. Defaults to 32, because a network finds little
                in smaller images.

        Returns:
            The outputs by name.

        Raises:
            UserError: The images have a wrong shape, the runtime fails on them, or the outputs are none that this
                package computes.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < smallest:
            raise UserError(
                f'{self.path} expects images (N, 3, H, W) with at least {smallest} pixels in height and width; '
                f'got the shape {images.shape}. Resize or pad smaller images.'
            )
        if any(isinstance(size, int) and size != own for size, own in zip(self._shape, images.shape)):
            raise UserError(f'{self.path} takes only images of the shape {tuple(self._shape)}; got {images.shape}')
        if images.dtype != self._dtype:
            images = (images.round().clip(0, 255) if self._dtype == np.uint8 else images).astype(self._dtype)
        try:
            values = self._session.run(np.ascontiguousarray(images))
        except Exception as error:  # the exceptions of the runtimes have no common base
            raise UserError(
                f'{self.runtime} cannot run {self.path} on images of the shape {images.shape}: {_reason(error)}. Give '
                'smaller images or fewer at once, or export the checkpoint again with tools/export.py.'
            ) from error
        outputs = dict(zip(self._session.output_names, values))
        with self._as_exported():
            check_outputs(outputs, self.metadata, len(images))
        return outputs

    @contextmanager
    def _as_exported(self) -> Iterator[None]:
        """Say in an error which file is not as this package exports it, and what to do."""
        try:
            yield
        except UserError as error:
            raise UserError(f'{self.path} is not as it was exported: {error}. {EXPORT_AGAIN}') from None


def onnxruntime_session(model: str | bytes, threads: int | None) -> Any:
    """Open an ONNX model, by its path or its bytes, with ONNX Runtime on the CPU. It logs no errors, but raises them.

    Args:
        model: The path or the bytes.
        threads: The number of CPU threads. None: ONNX Runtime decides.
    """
    ort = library('onnxruntime')
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if threads is not None:
        options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def compile_openvino(model: Any, threads: int | None) -> Any:
    """Compile an ``openvino.Model`` for one call after another on the CPU, in float32.

    Args:
        model: The model.
        threads: The number of CPU threads. None: OpenVINO decides.
    """
    # Where the CPU has bfloat16, OpenVINO would compute in it.
    settings: dict[str, Any] = {'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': 'f32'}
    if threads is not None:
        settings['INFERENCE_NUM_THREADS'] = threads
    return library('openvino').compile_model(model, 'CPU', settings)


def _images_of(inputs: list[tuple[str, list]]) -> tuple[np.dtype, list]:
    """The type and the shape of the images that a file takes.

    Args:
        inputs: The type and the shape of each input.

    Raises:
        UserError: The file takes something else.
    """
    if len(inputs) == 1:
        ((kind, shape),) = inputs
        if kind in IMAGE_TYPES and len(shape) == 4 and shape[1] == 3:
            return np.dtype(IMAGE_TYPES[kind]), shape
    found = ', '.join(f'{kind} {tuple(shape)}' for kind, shape in inputs)
    raise UserError(
        f'it has the inputs {found or "none"}, and one of images (N, 3, H, W), uint8 or float32, was expected'
    )


class _OnnxSession:
    def __init__(self, file: Path, threads: int | None):
        self._session = onnxruntime_session(str(file), threads)
        self._names = [port.name for port in self._session.get_inputs()]
        self.inputs = [(port.type, list(port.shape)) for port in self._session.get_inputs()]
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self.output_names = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, {self._names[0]: images})


class _OpenVINOSession:
    def __init__(self, file: Path, threads: int | None):
        model = library('openvino').Core().read_model(file)
        self._compiled = compile_openvino(model, threads)
        self.metadata = {
            key: model.get_rt_info(['model_info', key]).astype(str)
            for key in Metadata.keys()
            if model.has_rt_info(['model_info', key])
        }
        self.inputs = [
            (
                port.element_type.get_type_name(),
                [None if dim.is_dynamic else dim.get_length() for dim in port.partial_shape],
            )
            for port in model.inputs
        ]
        self.output_names = [output.any_name for output in model.outputs]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        return list(self._compiled(images).to_tuple())


def _reason(error: Exception) -> str:
    """What a runtime says, in one line. OpenVINO begins with the lines of its own code, and ends with the reason."""
    text = ' '.join(str(error).split()).rstrip('.')
    return text if len(text) <= LONGEST_REASON else f'... {text[-LONGEST_REASON:]}'
