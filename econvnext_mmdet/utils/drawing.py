"""Helpers for drawing detections."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_drawing() -> Iterator[None]:
    """Silence MMEngine's out-of-bounds warning, which it issues for every box that touches the image border."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*out of bounds')
        yield
