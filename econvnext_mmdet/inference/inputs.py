"""Finding the input images and videos, and choosing the paths of their drawn pictures."""

import glob
import os
from collections.abc import Iterator, Sequence
from mimetypes import guess_type
from pathlib import Path
from typing import NamedTuple

from mmdet.apis.det_inferencer import IMG_EXTENSIONS

from ..utils.errors import UserError

VIDEO_EXTENSIONS = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv')


class Found(NamedTuple):
    """The files of all inputs.

    Attributes:
        files: The paths of the images and videos.
        unread: One sentence for each file in a folder that is plainly an image, but cannot be read.
    """

    files: list[str]
    unread: list[str]


def find_files(inputs: Sequence[str], exclude: str = 'inference/pictures') -> Found:
    """Find the image and video files of all inputs: each file once, in the order of the inputs.

    An input is one of these:

    - a file. It counts as an image unless it has the file extension of a video.
    - a folder. All images in it and in its subfolders are found, but no videos.
    - a glob pattern, in which ``**`` matches folders of any depth. All matching images and videos are found.

    Folders and patterns do not find hidden files.

    Args:
        inputs: The inputs.
        exclude: A folder that is skipped when folders and patterns are searched. It is the folder of the drawn
            pictures, which may contain pictures of an earlier run. Defaults to 'inference/pictures'.

    Raises:
        UserError: An input does not lead to any image or video.
    """
    exclude = os.path.join(os.path.abspath(exclude), '')
    files: dict[str, str] = {}
    unread: dict[str, None] = {}
    for text in inputs:
        for path in _files_of(text, exclude):
            files.setdefault(os.path.abspath(path), os.path.normpath(path))
        unread.update(dict.fromkeys(_unread_in(text, exclude) if os.path.isdir(text) else ()))
    return Found(list(files.values()), list(unread))


def _unread_in(folder: str, exclude: str) -> Iterator[str]:
    for path in sorted(_files_below(folder)):
        known = path.lower().endswith(IMG_EXTENSIONS)
        kind = guess_type(path, strict=False)[0] or ''
        if os.path.abspath(path).startswith(exclude) or known and os.path.isfile(path):
            continue
        if known:
            yield f'{path} is no file: a pipe, a device or a broken link'
        elif kind.startswith('image/'):
            yield f'{path} has a format that is not read ({kind}); convert it to JPEG or PNG'


def _files_of(text: str, exclude: str) -> list[str]:
    """Find the files of one input. ``exclude`` is absolute and ends in a separator."""
    if os.path.isfile(text):
        return [text]
    is_folder, is_pattern = os.path.isdir(text), glob.has_magic(text)
    extensions = IMG_EXTENSIONS if is_folder else IMG_EXTENSIONS + VIDEO_EXTENSIONS
    found = sorted(
        path
        for path in (_files_below(text) if is_folder else glob.glob(text, recursive=True))
        if path.lower().endswith(extensions) and os.path.isfile(path) and not os.path.abspath(path).startswith(exclude)
    )
    if found:
        return found
    if is_folder:
        problem = 'the folder has no images'
    elif is_pattern:
        problem = 'no image or video matches the pattern'
    else:
        problem = 'there is no such file'
    if (is_folder or is_pattern) and os.path.isdir(exclude):
        problem += f' (files in {os.path.relpath(exclude)} do not count because the pictures are written there)'
    raise UserError(
        f'nothing to do for {text}: {problem}. Give images ({" ".join(IMG_EXTENSIONS)}), videos '
        f'({" ".join(VIDEO_EXTENSIONS)}), folders of images or glob patterns.'
    )


def _files_below(folder: str) -> Iterator[str]:
    """All files in a folder and its subfolders that are not hidden. Links are followed, to each folder once."""
    seen = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        inside = sorted(name for name in folders if not name.startswith('.'))
        folders.clear()
        for name in inside:
            path = os.path.realpath(os.path.join(place, name))
            if path not in seen:
                seen.add(path)
                folders.append(name)
        yield from (os.path.join(place, name) for name in names if not name.startswith('.'))


def is_video(path: str) -> bool:
    """Whether a file has the file extension of a video."""
    return path.lower().endswith(VIDEO_EXTENSIONS)


def picture_paths(folder: Path, files: Sequence[str]) -> dict[str, Path]:
    """Choose where the picture of each input is written.

    The pictures lie in ``pictures/``, in the same subfolders as the inputs have below their common parent folder. If
    the format of an input cannot be written, .jpg or .mp4 is added to its name.

    Args:
        folder: The output folder.
        files: The inputs, from :func:`find_files`.

    Returns:
        The path of the picture for each input.

    Raises:
        UserError: Two pictures would have the same path, or a picture would overwrite an input.
    """
    inputs = {os.path.realpath(path) for path in files}
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in files])
    sources: dict[Path, str] = {}
    for path in files:
        name = os.path.relpath(os.path.abspath(path), root)
        if is_video(path):
            name += '' if name.lower().endswith('.mp4') else '.mp4'
        elif not name.lower().endswith(IMG_EXTENSIONS) or name.lower().endswith('.pgm'):  # PGM has no colours
            name += '.jpg'
        target = folder / 'pictures' / name
        if os.path.realpath(target) in inputs:
            raise UserError(f'the picture of {path} would overwrite the input {target}; choose another output folder')
        if target in sources:
            raise UserError(
                f'the pictures of {sources[target]} and {path} would both be written to {target}; process these inputs '
                'in separate runs with different output folders'
            )
        sources[target] = path
    return {path: target for target, path in sources.items()}
