"""What an exported file says about itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..utils.errors import UserError, is_readable
from ..utils.files import parse_json
from ..version import __version__

PRODUCER = 'econvnext_mmdet'
SMALLEST_SIDE = 32
LARGEST_SIDE = 2**14
EXPORT_AGAIN = 'It was changed or is damaged, or another program wrote it. Export the checkpoint with tools/export.py.'
# MMCV's names of the interpolations of each backend.
INTERPOLATIONS = {
    'cv2': ('nearest', 'bilinear', 'bicubic', 'area', 'lanczos'),
    'pillow': ('nearest', 'bilinear', 'bicubic', 'box', 'lanczos', 'hamming'),
}
# The texts that are one of a few words.
WORDS = {
    'task': ('detect', 'segment', 'classify', 'features'),
    'resize': ('fit', 'stretch', 'crop'),
    'backend': tuple(INTERPOLATIONS),
    'channels': ('BGR',),
    'channels_inside': ('BGR', 'RGB'),
    'weights': ('float32', 'float16', 'int8'),
}


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
            UserError: This package did not write the file, or a text is missing or has a wrong value.
        """
        if texts.get('producer') != PRODUCER:
            raise UserError(
                f'{path} was not written by tools/export.py: expected the producer {PRODUCER} in its metadata, found '
                f'{texts.get("producer", "none")}. Export the checkpoint with tools/export.py.'
            )
        try:
            read = {key: texts[key] for key in (*WORDS, 'interpolation', 'version')}
            names = parse_json(texts['names'])
            numbers = {
                key: parse_json(texts[key])
                for key in ('imgsz', 'short_side', 'stride', 'mean', 'std', 'mask_threshold', 'test_cfg')
            }
            metadata = cls(
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
        for key, expected in metadata._wrong_values():
            raise UserError(
                f'{path} has wrong metadata: {key} is {str(getattr(metadata, key))[:100]!r}, and {expected} was '
                f'expected. {EXPORT_AGAIN}'
            )
        return metadata

    def _wrong_values(self) -> Iterator[tuple[str, str]]:
        """The key of each wrong value, and what was expected. The values come from a file and can have any type."""
        for key, words in WORDS.items():
            if getattr(self, key) not in words:
                yield key, ' or '.join(words)
        if self.interpolation not in INTERPOLATIONS.get(self.backend, ()):
            yield 'interpolation', f'an interpolation of {self.backend}'
        if not all(map(is_readable, self.names)) or bool(self.names) == (self.task == 'features'):
            yield 'names', 'a readable name for each class, and none for a backbone,'
        elif len(set(self.names)) < len(self.names) and self.task != 'classify':  # ImageNet has two classes "crane"
            yield 'names', 'a different name for each class'
        if len(self.imgsz) != 2 or not all(map(_is_count, self.imgsz)):
            yield 'imgsz', 'a height and a width in pixels'
        if not (_is_count(self.short_side) if self.resize == 'crop' else self.short_side is None):
            yield 'short_side', 'a length in pixels if the image is cut, and null otherwise,'
        if not _is_count(self.stride):
            yield 'stride', 'a number of pixels'
        if len(self.mean) not in (0, 1, 3) or not all(map(_is_number, self.mean)):
            yield 'mean', 'no number, one, or one for each channel'
        if len(self.std) != len(self.mean) or not all(_is_number(value) and value > 0 for value in self.std):
            yield 'std', 'a number above 0 for each one of mean'
        if not (_is_number(self.mask_threshold) if self.task == 'segment' else self.mask_threshold is None):
            yield 'mask_threshold', 'a number for a detector with masks, and null otherwise,'
        if not isinstance(self.test_cfg, (dict, type(None))):
            yield 'test_cfg', 'a dict or null'


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_SIDE


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
