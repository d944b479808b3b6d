"""Reading and writing files."""

import errno
import gc
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from mmengine.fileio import YamlHandler, register_handler
from PIL import Image

from .errors import UserError, repeated
from .pixels import MOST_PIXELS, PIXELS_VARIABLE

Value = TypeVar('Value')
MOST_DIGITS = 300  # a number with more is larger than any float
MOST_VALUES = 10**7  # in a YAML file, with those that repeat others
# The loader in C takes a seventh of the time, and crashes if a text is nested too deep. Some builds of PyYAML lack it.
FAST_YAML = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)
FAST_TEXTS = getattr(yaml, 'CBaseLoader', yaml.BaseLoader)
FAST_DEPTH = 1000
NEARLY_BLACK = 32  # of 255; below, at most 13 of 16 bits are used


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Pause garbage collection while millions of dicts are built: searching them for cycles doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that somebody else wrote.

    Args:
        text: A text, or bytes in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        ValueError: The text is not JSON, is nested too deep for Python, has a number that is too large for a float, or
            an object that has a name twice.
    """
    try:
        return json.loads(text, parse_int=_integer, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError('its lists and objects are nested too deep') from None


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f'it has a number of {len(digits)} digits')
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError(f'an object in it has the name {repeated(name for name, _ in pairs)!r} twice')
    return values


def parse_yaml(text: str, as_text: bool = False) -> Any:
    """Parse YAML that somebody else wrote, without running the functions that its tags name.

    Args:
        text: The YAML.
        as_text: Keep numbers, dates and words such as ``no`` as the texts they are. Defaults to False.

    Raises:
        ValueError: The text is not YAML, is nested too deep for Python, has a mapping with a key twice, or is so small
            and repeats so much that going through it would take years.
    """
    # Each level has a bracket, or begins further to the right than the level around it.
    most_levels = text.count('[') + text.count('{') + max(map(len, text.splitlines()), default=0)
    fast, slow = (FAST_TEXTS, yaml.BaseLoader) if as_text else (FAST_YAML, yaml.SafeLoader)
    try:
        loader = (fast if most_levels <= FAST_DEPTH else slow)(text)
        try:
            root = loader.get_single_node()
            _check_keys(root, set())
            content = None if root is None else loader.construct_document(root)
        finally:
            loader.dispose()
        if _number_of_values(content, {}) > MOST_VALUES:
            raise ValueError(f'its aliases (*NAME) repeat parts until it has more than {MOST_VALUES} values')
    except yaml.YAMLError as error:
        raise ValueError(' '.join(str(error).split())) from None
    except RecursionError:
        raise ValueError('its lists and mappings are nested too deep') from None
    return content


def _check_keys(node: yaml.Node | None, known: set[int]) -> None:
    """Check that no mapping has a key twice, of which a loader would take the last."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in known:
        return
    known.add(id(node))
    parts = node.value
    if isinstance(node, yaml.MappingNode):
        twice = repeated((key.tag, key.value) for key, _ in parts if isinstance(key, yaml.ScalarNode))
        if twice:
            raise ValueError(f'{node.start_mark}: a mapping has the key {twice[1]!r} twice')
        parts = [part for pair in parts for part in pair]
    for part in parts:
        _check_keys(part, known)


def _number_of_values(value: Any, known: dict[int, float]) -> float:
    """The number of values in a tree, in which a part counts in each place where it is."""
    if not isinstance(value, (dict, list, tuple)):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf  # if it holds itself
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_number_of_values(part, known) for part in parts)
    return known[id(value)]


def check_no_pipe(path: str | Path) -> None:
    """Check that a path is that of no device and no pipe. Reading may never end, and renaming a file replaces them.

    Raises:
        UserError: It is a device, a pipe or a socket.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise UserError(f'{path} is a device or a pipe; give the name of a file')


def drop_link(path: Path) -> None:
    """Remove a link in the place of a file to write. Writing would change the file to which it leads."""
    if path.is_symlink():
        path.unlink()


@contextmanager
def one_error(kind: str) -> Iterator[None]:
    """Turn whatever a reader of MMEngine raises into a UserError. MMEngine gives a reader no name of a file.

    Args:
        kind: The kind of the file, for the message.
    """
    try:
        yield
    except Exception as error:  # a broken file can make a reader raise anything
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise UserError(f'a {kind} file, such as a config or annotations, was not loaded: {reason}') from error


class PlainYamlHandler(YamlHandler):
    """Lets MMEngine read YAML without running the functions that its tags name."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        with one_error('YAML'):
            return parse_yaml(file.read())


def use_plain_yaml() -> None:
    """Let ``mmengine.load``, which also reads configs in YAML, run no code in them."""
    register_handler(['yaml', 'yml'])(PlainYamlHandler)


def load_json(path: str, kind: type[dict] | type[list]) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        kind: The expected type of its content: ``dict`` for an annotation file, ``list`` for a results file.

    Raises:
        UserError: The file is missing, is not JSON or holds another type.
    """
    check_no_pipe(path)
    try:
        with no_garbage_collection():
            content = parse_json(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f'cannot read {path} as JSON: {error}') from None
    if not isinstance(content, kind):
        if kind is dict:
            expected = 'an annotation file: an object with images, annotations and categories'
        else:
            expected = 'a results file: a list with one entry per detection'
        raise UserError(f'{path} has the wrong content: expected {expected}')
    return content


def check_pixels(path: str) -> None:
    """Check the number of pixels in the header of an image, before a small file fills the memory.

    The limit is :data:`MOST_PIXELS`, or the environment variable that OpenCV reads for its own, much larger limit.

    Raises:
        UserError: The image has more pixels.
    """
    size = stored_size(path)
    if size is None:
        return
    width, height = size
    most = int(os.environ.get(PIXELS_VARIABLE, MOST_PIXELS))
    if width * height > most:
        raise UserError(
            f'{path} has {width} x {height} pixels, more than {most:,}. Use a smaller image, or set the environment '
            f'variable {PIXELS_VARIABLE} to a larger number.'
        )


def stored_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height that the header of an image file says, or None if Pillow cannot read it."""
    return _read_header(path, lambda image: image.size, None)


def number_of_pages(path: str | Path) -> int:
    """The number of pages of a TIFF, or of pictures of an animation. OpenCV reads the first one.

    It is 1 for a photograph with smaller copies of itself, and for a format that Pillow does not know.
    """
    return _read_header(path, lambda image: 1 if image.format == 'MPO' else getattr(image, 'n_frames', 1), 1)


def is_too_dark(path: str | Path, image: np.ndarray) -> bool:
    """Whether an image file of 16 bits is nearly black in the upper 8, which are those that OpenCV keeps.

    Args:
        path: The image file.
        image: Its pixels as they were loaded.
    """
    if image.dtype != np.uint8 or image.max() >= NEARLY_BLACK:
        return False
    return _read_header(path, lambda header: header.mode.startswith('I'), False)


def _read_header(path: str | Path, read: Callable[[Image.Image], Value], otherwise: Value) -> Value:
    """What Pillow reads in the header of an image file, or another value if it cannot read the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Pillow warns of many pixels
            with Image.open(path) as image:
                return read(image)
    except Exception:  # a format that OpenCV may know, or a size that Pillow refuses
        return otherwise


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file completely or not at all, also if the machine stops.

    Yields a temporary name. When the block ends, the file gets its final name. If the block fails, the file is removed.
    The error of a full disk gets the name of the file.

    Args:
        path: The file to write. Its folder must exist by the time the block writes.

    Raises:
        UserError: The path is a device or a pipe, which renaming would replace.
        OSError: The path is a folder, or the file cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    check_no_pipe(path)
    part = path.with_name(f'.part-{path.name}')  # keeps the file extension, which may decide the format
    drop_link(part)
    try:
        yield part
        if part.exists():
            _flush(part)
            os.replace(part, path)
            _flush(path.parent)
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name == 'nt':
        return  # Windows opens no folders, and flushes no file that is opened for reading
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot
            raise
    finally:
        os.close(opened)


def is_inside(name: str, folder: str) -> bool:
    """Whether a file name, relative to a folder or absolute, stays inside the folder. Links are not followed."""
    root = os.path.abspath(folder)
    return os.path.commonpath([root, os.path.abspath(os.path.join(root, name))]) == root


def check_new_folder(path: str) -> None:
    """Check that a folder does not exist yet.

    Raises:
        UserError: It exists.
    """
    if Path(path).exists():
        raise UserError(f'{path} exists already. Remove it or choose another folder.')


@contextmanager
def whole_folder(path: str) -> Iterator[Path]:
    """Write a new folder completely or not at all.

    Yields an empty temporary folder. When the block ends, the folder gets its final name. If the block fails, the
    folder is removed. Parent folders are created.

    Args:
        path: The folder to make.

    Raises:
        UserError: The folder exists.
    """
    check_new_folder(path)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f'.{target.name}.') as temporary:
        # The temporary folder itself is private to its owner; a folder inside it has the usual permissions.
        whole = Path(temporary) / 'whole'
        whole.mkdir()
        yield whole
        os.rename(whole, target)


def check_extension(path: str, extensions: Sequence[str], what: str) -> None:
    """Check the file extension of a file to write.

    Args:
        path: The file.
        extensions: The file extensions to accept, such as ``('.pth', '.safetensors')``.
        what: What the file is, or the option that names it, for the message.

    Raises:
        UserError: The file has a different extension.
    """
    if Path(path).suffix not in extensions:
        raise UserError(f'expected the file extension {" or ".join(extensions)} for {what}; got {path}')


def is_same(path: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to the same file or folder, which exists."""
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def check_not_read(path: str | Path, *read: str | Path) -> None:
    """Check that a file to write is none of those that the same run reads.

    Raises:
        UserError: It is one of them.
    """
    if any(is_same(path, other) for other in read):
        raise UserError(f'{path} is to be read and to be written; give another name or folder for the file to write')


def check_writable(path: str, *read: str | Path) -> None:
    """Check that a file can be written, and create its folder. Call it before hours of work, not after them.

    Args:
        path: The file.
        read: Files that the same run reads, and must not replace.

    Raises:
        UserError: The file is one of those that are read, or it is a device or a pipe.
        OSError: The file cannot be written. The error names the path that is in the way.
    """
    check_not_read(path, *read)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(path)) as part:
        part.touch()
        part.unlink(missing_ok=True)  # another process of a distributed run may have removed it


def write_json(path: str, content: Any) -> None:
    """Write a JSON file completely or not at all, and create its folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(Path(path)) as part:
        part.write_text(json.dumps(content), encoding='utf-8')
