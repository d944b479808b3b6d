"""Helpers for drawing detections."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


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
