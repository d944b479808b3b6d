"""Helpers for drawing detections."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


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
