"""Helpers for drawing detections."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.structures import BaseDataElement
from mmengine.visualization import BaseVisBackend, Visualizer


class LastPicture(BaseVisBackend):
    """Keeps the last picture of a visualizer, for :func:`draw`."""

    picture: np.ndarray

    def __init__(self, save_dir: str | None = None):
        """Called with the folder for files, of which there are none."""

    def _init_env(self) -> None:
        """Nothing to prepare."""

    @property
    def experiment(self) -> 'LastPicture':
        return self

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        self.picture = image


def draw(visualizer: Visualizer, image: np.ndarray, sample: BaseDataElement, **options: Any) -> np.ndarray:
    """Draw objects on an image. MMEngine's ``get_image`` draws the result once more, which blurs it in matplotlib 3.10.

    Args:
        visualizer: A visualizer with the backend :class:`LastPicture`.
        image: The image: (H, W, 3), RGB, uint8.
        sample: The objects.
        options: Options of the visualizer's ``add_datasample``.

    Returns:
        The picture, in the format of the image.
    """
    with quiet_drawing():
        visualizer.add_datasample('', image, sample, **options)
    return visualizer.get_backend(LastPicture.__name__).picture


def color_type_of(loaded: str) -> str:
    """MMCV's color type to draw on an image that was loaded with another: in colour, turned by EXIF only if that is.

    Args:
        loaded: The color type with which the image was loaded, such as 'grayscale' or 'unchanged'.
    """
    return 'color' if loaded in ('color', 'grayscale') else 'color_ignore_orientation'


def short_name(name: str, most: int = 40) -> str:
    """Shorten the name of a class for a plot or a picture: the size of a plot grows with its longest label.

    Args:
        name: The name.
        most: The number of characters to keep. Defaults to 40.
    """
    return name if len(name) <= most else f'{name[: most - 3]}...'


@contextmanager
def quiet_drawing() -> Iterator[None]:
    """Silence warnings that come for each box or character.

    MMEngine warns about every box that touches the image border. matplotlib warns about every character that the font
    lacks; :func:`~.fonts.use_font_for` has said so before.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*out of bounds')
        warnings.filterwarnings('ignore', message='Glyph .* missing from')
        yield
