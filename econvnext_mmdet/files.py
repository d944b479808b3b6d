"""Reading and writing of files."""
import errno
import gc
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from .errors import UserError


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """For the making of millions of dicts without cycles: to look for cycles in them doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_json(path: str, kind: type) -> Any:
    """Read a JSON file whose content is of a kind, ``dict`` or ``list``.

    Raises:
        UserError: The file is missing, no JSON or of another kind.
    """
    try:
        with open(path, encoding='utf-8') as file, no_garbage_collection():
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(f'cannot read {path} as JSON: {error}') from None
    if not isinstance(content, kind):
        expected = dict(dict='an annotation file: an object with images, annotations and categories',
                        list='a results file: a list with an entry for each detection')[kind.__name__]
        raise UserError(f'{path} is not what was expected, {expected}')
    return content


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name to write a file under; the file gets its own when the block ends, and is removed if it fails.

    Args:
        path (Path): Where the file is meant to be, in a folder that is there when it is written.
    """
    part = path.with_name(f'.part-{path.name}')  # keeps the ending, which may say the format
    try:
        yield part
        if part.exists():
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def check_writable(path: str) -> None:
    """Check that a file can be written, and make its folder: what comes before may take hours.

    Raises:
        OSError: It cannot, with the path that is in the way.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(path)) as part:
        part.touch()
        part.unlink()


def write_json(path: str, content: Any) -> None:
    """Write JSON so that the file is whole or not there, and make its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(path)) as part:
        part.write_text(json.dumps(content), encoding='utf-8')
