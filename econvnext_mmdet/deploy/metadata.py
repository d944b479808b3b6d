"""What an exported file says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from ..utils.errors import UserError
from ..utils.files import parse_json
from ..version import __version__

PRODUCER = 'econvnext_mmdet'
SMALLEST_SIDE = 32


@dataclass(frozen=True)
class Metadata:
    """The metadata of an exported file.

    The keys that ultralytics also writes have the same meaning there: ``names``, ``imgsz``, ``stride``, ``task``.

    Attributes:
        task: 'detect' (boxes), 'segment' (boxes and masks), 'classify' or 'features' (a backbone).
        names: The names of the classes, by label. Empty for a backbone.
        imgsz: The height and width in pixels at which the config tests the model. Other sizes work too.
        resize: How the test brings an image to this size: 'fit' (scaled to fit into it; a portrait image fits into it
            turned by 90 degrees), 'stretch', or 'crop' (the short side is scaled to ``short_side``, and the centre is
            cut out).
        short_side: The short side in pixels before the cut. None without a cut.
        interpolation: MMCV's name of the interpolation, such as 'bilinear'.
        backend: The library that interpolates in the tests, 'cv2' or 'pillow'. Pillow also smooths what it shrinks.
        stride: The file pads images to a multiple of it: ``pad_size_divisor`` of the data preprocessor.
        mean: The mean that the file subtracts, in the order of ``channels_inside``.
        std: The standard deviation by which the file divides.
        channels: The order of the input's channels.
        channels_inside: The order in which the network itself reads them.
        mask_threshold: A pixel belongs to a mask if its probability is at least this. None without masks.
        test_cfg: The config's ``model.test_cfg``, which the file contains. None without such settings.
        weights: 'float32', 'float16' or 'int8'.
        producer: The program that wrote the file.
        version: The version of this program.
    """

    task: str
    names: tuple[str, ...]
    imgsz: tuple[int, int]
    resize: str
    short_side: int | None
    interpolation: str
    backend: str
    stride: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels_inside: str
    mask_threshold: float | None = None
    test_cfg: dict | None = None
    weights: str = 'float32'
    channels: str = 'BGR'
    producer: str = PRODUCER
    version: str = __version__

    def to_text(self) -> dict[str, str]:
        """The metadata as texts. Everything but texts is JSON, and ``names`` maps each label to its name."""
        values = {**asdict(self), 'names': dict(enumerate(self.names))}
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}

    @classmethod
    def keys(cls) -> tuple[str, ...]:
        """The keys of the texts."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def from_text(cls, texts: Mapping[str, str], path: str) -> Metadata:
        """Read the metadata of a file.

        Args:
            texts: The texts that :meth:`to_text` made. Other texts are not used.
            path: The file, for the message.

        Raises:
            UserError: This package did not write the file, or it is damaged.
        """
        if texts.get('producer') != PRODUCER:
            raise UserError(
                f'{path} was not written by tools/export.py: expected the producer {PRODUCER} in its metadata, found '
                f'{texts.get("producer", "none")}. Export the checkpoint with tools/export.py.'
            )
        try:
            read = {
                key: texts[key]
                for key in (
                    'task',
                    'resize',
                    'interpolation',
                    'backend',
                    'channels_inside',
                    'weights',
                    'channels',
                    'version',
                )
            }
            names = parse_json(texts['names'])
            numbers = {
                key: parse_json(texts[key])
                for key in ('imgsz', 'short_side', 'stride', 'mean', 'std', 'mask_threshold', 'test_cfg')
            }
            return cls(
                **read,
                names=tuple(names[str(label)] for label in range(len(names))),
                imgsz=tuple(numbers['imgsz']),
                short_side=numbers['short_side'],
                stride=numbers['stride'],
                mean=tuple(numbers['mean']),
                std=tuple(numbers['std']),
                mask_threshold=numbers['mask_threshold'],
                test_cfg=numbers['test_cfg'],
            )
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                f'{path} has incomplete metadata ({type(error).__name__}: {error}). It was changed, or written by '
                f'another version than {__version__}. Export the checkpoint again with tools/export.py.'
            ) from error
