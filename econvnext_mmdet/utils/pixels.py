"""The limit of pixels in an image. The package imports this module before it checks which libraries are installed."""

import os
import re
import warnings

MOST_PIXELS = 2**27  # 0.4 GB in colour; an image of 11585 x 11585 pixels
PIXELS_VARIABLE = 'OPENCV_IO_MAX_IMAGE_PIXELS'


def drop_wrong_limit() -> None:
    """Drop a limit of pixels that is no number, with a warning. OpenCV would abort the process when it is imported."""
    value = os.environ.get(PIXELS_VARIABLE, '1')
    if not re.fullmatch('[1-9][0-9]{0,17}', value):
        del os.environ[PIXELS_VARIABLE]
        warnings.warn(
            f'the environment variable {PIXELS_VARIABLE} is not used: expected a number of pixels, such as '
            f'{MOST_PIXELS}; got {value!r}',
            stacklevel=2,
        )
