"""What the drawing of detections has in common."""
import warnings
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def quiet_drawing() -> Iterator[None]:
    """Without MMEngine's warning of boxes out of bounds, which it gives for any that touches the border."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*out of bounds')
        yield
