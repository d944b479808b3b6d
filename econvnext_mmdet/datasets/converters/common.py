"""What the converters to COCO's JSON share: reading images, naming what was dropped, choosing classes, splitting."""

import json
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from matplotlib.path import Path as Outline
from matplotlib.transforms import Bbox
from mmcv.image import imread
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from PIL import Image as PillowImage
from pycocotools import mask as mask_utils

from ...utils.errors import UserError, examples, is_readable, printable, repeated
from ...utils.files import check_no_pipe, check_writable, number_of_pages, whole_file

ORIENTATION = 0x0112  # the number of EXIF's tag
SWAPPED = (5, 6, 7, 8)  # the orientations that swap width and height
TOLERANCE = 0.01  # how far a rounded fraction may lie outside 0 to 1 before it must be a number of pixels
LEAST_SIDE = 0.01  # pixels; a smaller width or height is a rounding error


@dataclass
class Picture:
    """An image file.

    Attributes:
        file_name: Its path, relative to the folder of the images.
        width: The width in pixels, as training reads the image: rotated according to its EXIF data.
        height: The height in pixels.
        orientation: EXIF's orientation, from 1 (not rotated) to 8.
    """

    file_name: str
    width: int
    height: int
    orientation: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height of the stored pixels, before they are rotated."""
        return (self.height, self.width) if self.orientation in SWAPPED else (self.width, self.height)

    def rotate(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) in the rotated image, of points (x, y) in the stored pixels."""
        width, height = self.stored
        points = np.array(points, float)
        if self.orientation in (2, 3, 7, 8):
            points[:, 0] = width - points[:, 0]
        if self.orientation in (3, 4, 6, 7):
            points[:, 1] = height - points[:, 1]
        return points[:, ::-1] if self.orientation in SWAPPED else points

    def rotate_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """The rotated image (height, width), of the stored pixels."""
        if self.orientation in (2, 3, 7, 8):
            pixels = pixels[:, ::-1]
        if self.orientation in (3, 4, 6, 7):
            pixels = pixels[::-1]
        return pixels.T if self.orientation in SWAPPED else pixels


@dataclass
class Item:
    """An object of an image.

    Attributes:
        name: The name of its class.
        box: Left, top, right and bottom edge, in pixels of the rotated image.
        where: What the source says about the object, for messages.
        crowd: Whether it is a region of many objects.
        mask: Its ``segmentation`` in COCO's format, or None.
        area: The area of the mask in pixels. None for that of the box.
        clipped: Whether a part of it, outside of the image, was cut off. :func:`to_coco` does so with boxes.
    """

    name: str
    box: tuple[float, ...]
    where: str
    crowd: bool = False
    mask: Any = None
    area: float | None = None
    clipped: bool = False


Content = TypeVar('Content')
# An image with its objects.
Annotated = tuple[Picture, list[Item]]


@dataclass
class ConversionSummary:
    """The images and objects that a conversion kept, and what it dropped or changed.

    Attributes:
        images: Number of images kept.
        objects: Number of objects kept, by class.
        dropped: One sentence per dropped image or object, which says where it is and why it was dropped.
        clipped: One sentence per object that extended beyond its image.
        notes: The names of the images to which something applies, by what applies.
    """

    images: int = 0
    objects: Counter = field(default_factory=Counter)
    dropped: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    notes: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __str__(self) -> str:
        lines = [
            f'{self.images} images, {sum(self.objects.values())} objects: '
            + ', '.join(f'{name} {count}' for name, count in self.objects.items())
        ]
        lines += [f'{what}: {len(names)} ({examples(names)})' for what, names in self.notes.items()]
        if self.clipped:
            lines.append(f'clipped to their image: {len(self.clipped)} ({examples(self.clipped)})')
        if self.dropped:
            lines.append(f'dropped {len(self.dropped)}:')
            lines += [f'  {line}' for line in self.dropped]
        else:
            lines.append('dropped nothing')
        return '\n'.join(map(printable, lines))


def find_pictures(folder: Path) -> dict[str, list[Path]]:
    """The image files in a folder and its subfolders, see :func:`find_files`."""
    return find_files(folder, IMG_EXTENSIONS)


def find_files(folder: Path, extensions: Sequence[str]) -> dict[str, list[Path]]:
    """Files in a folder and its subfolders, by their path without file extension, relative to the folder.

    Args:
        folder: The folder.
        extensions: The file extensions, in small letters.

    Raises:
        UserError: There is no such folder, or one of the files is a device or a pipe.
    """
    if not folder.is_dir():
        raise UserError(f'no folder {folder}')
    found = defaultdict(list)
    for path in sorted(folder.rglob('*')):
        if path.suffix.lower() not in extensions:
            continue
        check_no_pipe(path)
        if path.is_file():
            found[path.relative_to(folder).with_suffix('').as_posix()].append(path)
    return dict(found)


def only_file(paths: Mapping[str, Sequence[Path]], name: str, what: str) -> Path:
    """The file with a name.

    Args:
        paths: The files, from :func:`find_files`.
        name: The name there.
        what: What the file is, for the message.

    Raises:
        UserError: There is no such file, or there are several.
    """
    if name not in paths:
        raise UserError(f'no {what} file {name}.* of a known format')
    path, *others = paths[name]
    if others:
        raise UserError(f'several {what} files: {", ".join(path.name for path in paths[name])}')
    return path


def read_each(
    paths: Mapping[str, Sequence[Path]], read: Callable[[Path], Content], what: str
) -> dict[str, Content | UserError]:
    """The contents of files by name, or why they cannot be used.

    Args:
        paths: The files, from :func:`find_files`.
        read: Reads a file, or raises a UserError.
        what: What the files are, for the message if several have the same name.
    """
    contents: dict[str, Content | UserError] = {}
    for name in paths:
        try:
            contents[name] = read(only_file(paths, name, what))
        except UserError as error:
            contents[name] = error
    return contents


def unmatched(paths: Mapping[str, Sequence[Path]], names: Container[str], folder: Path) -> list[str]:
    """The files, from :func:`find_files`, whose names are not among others, by their path relative to a folder."""
    return [path.relative_to(folder).as_posix() for name in paths if name not in names for path in paths[name]]


def read_picture(paths: dict[str, list[Path]], name: str, folder: Path) -> Picture:
    """Find an image and read it as training does.

    Args:
        paths: The image files, from :func:`find_pictures`.
        name: The name of the image there.
        folder: The folder of the images.

    Raises:
        UserError: There is no such image, there are several, or it is not readable or has several pages.
    """
    path, image = read_image(paths, name)
    try:
        with PillowImage.open(path) as header:
            orientation = header.getexif().get(ORIENTATION, 1)
    except Exception:  # the errors of Pillow have no base; it refuses very large images, for example
        orientation = 1
    if orientation != 1 and np.array_equal(image, imread(str(path), 'color_ignore_orientation')):
        orientation = 1  # OpenCV does not rotate every format, WebP for example
    height, width = image.shape[:2]
    return Picture(path.relative_to(folder).as_posix(), width, height, orientation if 1 <= orientation <= 8 else 1)


def read_image(
    paths: dict[str, list[Path]], name: str, what: str = 'image', flag: str | int = 'color'
) -> tuple[Path, np.ndarray]:
    """Find an image file and read it.

    Args:
        paths: The image files, from :func:`find_pictures`.
        name: The name of the image there.
        what: What the file is, for the message. Defaults to 'image'.
        flag: How the file is read, see :func:`mmcv.image.imread`. Defaults to 'color'.

    Returns:
        The file and its pixels.

    Raises:
        UserError: There is no such file, there are several, or it is not readable or has several pages.
    """
    path = only_file(paths, name, what)
    try:
        image = imread(str(path), flag)
    except cv2.error:  # the file is empty
        image = None
    if image is None:
        raise UserError(f'{path.name} is not a readable {what}')
    pages = number_of_pages(path)
    if pages > 1:
        raise UserError(f'{path.name} has {pages} pages; split it into images of one page')
    return path, image


def read_split(path: Path, known: set[str]) -> list[str]:
    """Read the names of a split file.

    A line is the name of an image. It may have a file extension or a folder in front. In the split file of a class, a
    second column says whether the class is in the image.

    Args:
        path: The file.
        known: The names of all images, by which a name with blanks or dots is told from one with a column or a file
            extension.

    Returns:
        The names, each once.

    Raises:
        UserError: The file is not a text file.
    """
    names = []
    for line in read_text(path).splitlines():
        if not line.strip():
            continue
        line = line.strip().replace('\\', '/')
        first = re.sub(r'\s+-?[01]$', '', line)
        bare = [
            text[: -len(suffix)]
            for text in (line, first)
            for suffix in (*IMG_EXTENSIONS, '.xml')
            if text.lower().endswith(suffix)
        ]
        candidates = [line, first, *bare]
        candidates += [name.rpartition('/')[2] for name in candidates]
        names.append(next((name for name in candidates if name in known), (bare or [first])[-1]))
    return list(dict.fromkeys(names))


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises:
        UserError: The file has another encoding, or it is a device or a pipe, which may never end.
    """
    check_no_pipe(path)
    content = path.read_bytes()
    try:
        return content.decode('utf-16' if content.startswith((b'\xff\xfe', b'\xfe\xff')) else 'utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not a text file in UTF-8: {error}. Save it in UTF-8.') from None


def to_number(text: str | float) -> float:
    """Read a number of an annotation file.

    Raises:
        TypeError: It is neither a number nor a text.
        ValueError: The text is not a number. Python's float() also takes one with underscores.
    """
    if isinstance(text, str) and '_' in text:
        raise ValueError(f'{text!r} is not a number')
    return float(text)


def stated_size(width: Any, height: Any) -> tuple[float, float] | None:
    """The size of the image that an annotation file states, or None if it states none."""
    try:
        size = to_number(width), to_number(height)
    except (TypeError, ValueError):
        return None
    return size if all(0 < side < math.inf for side in size) else None


def placement(
    size: Sequence[float] | None, picture: Picture, summary: ConversionSummary, fractions: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """How annotations become those of an image as training reads it, rotated according to its EXIF data.

    They are scaled if the image was resized after it was annotated, and rotated if its stored pixels were annotated.

    Args:
        size: Width and height for which the image was annotated. None if they are unknown.
        picture: The image.
        summary: Receives a note if the annotations are scaled or rotated, or should perhaps be.
        fractions: The annotations are fractions of the image, whose size may have any aspect ratio. Defaults to False.

    Returns:
        A function that converts points (n, 2), x and y, to pixels of the image.

    Raises:
        UserError: The image has another aspect ratio.
    """
    shown = (picture.width, picture.height)
    if size and not fractions and not any(_same_aspect(size, pixels) for pixels in (shown, picture.stored)):
        raise UserError(
            f'it was annotated with {size[0]:g} x {size[1]:g} pixels, and the image has {shown[0]} x {shown[1]}. '
            'The aspect ratios differ, so it is unclear where the objects are'
        )
    rotated = annotates_stored(size, picture, summary)
    target = picture.stored if rotated else shown
    stated = (1, 1) if fractions else tuple(size or target)
    if stated != target and not fractions:
        summary.notes['annotated at another size, scaled to that of the image'].append(picture.file_name)
    scale = np.divide(target, stated)

    def place(points: np.ndarray) -> np.ndarray:
        points = np.asarray(points, float).reshape(-1, 2) * scale
        return picture.rotate(points) if rotated else points

    return place


def annotates_stored(size: Sequence[float] | None, picture: Picture, summary: ConversionSummary) -> bool:
    """Whether annotations are those of the stored pixels of an image, to be rotated as its EXIF data says.

    Only the aspect ratio tells. If it fits both the stored and the rotated image, the annotations are taken as those of
    the rotated image, as most tools for annotating show it.

    Args:
        size: Width and height for which the image was annotated. None if they are unknown.
        picture: The image.
        summary: Receives a note if the annotations are to be rotated, or if that is unclear.
    """
    fits_shown, fits_stored = (
        size is None or _same_aspect(size, pixels) for pixels in ((picture.width, picture.height), picture.stored)
    )
    if fits_stored and not fits_shown:
        summary.notes["annotated in the image's stored pixels, rotated as its EXIF data says"].append(picture.file_name)
        return True
    if picture.orientation != 1 and fits_stored == fits_shown:
        what = (
            'turned or mirrored by its EXIF data; the annotations were taken as those of the turned image, check them'
        )
        summary.notes[what].append(picture.file_name)
    return False


def _same_aspect(size: Sequence[float], target: Sequence[float]) -> bool:
    """Whether a size can be scaled to a target, where a rounded side may differ by a pixel."""
    scale = target[0] / size[0]
    return abs(size[1] * scale - target[1]) <= max(1.0, scale)


def is_fraction(value: float) -> bool:
    """Whether a coordinate is a fraction of the image, which may be rounded, and no number of pixels."""
    return -TOLERANCE <= value <= 1 + TOLERANCE  # false if it is not a number


def edges(points: np.ndarray) -> tuple[float, ...]:
    """Left, top, right and bottom edge of points (n, 2)."""
    return (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())


def polygon_item(name: str, polygons: Sequence[np.ndarray], picture: Picture, where: str) -> Item:
    """An object with polygons as its mask. What is outside of the image is cut off.

    Args:
        name: The name of its class.
        polygons: The corners (n, 2) of each part, in pixels of the rotated image.
        picture: The image.
        where: What the source says about the object, for messages.

    Returns:
        The object. Its area is 0 if nothing is left of it.
    """
    size = (picture.width, picture.height)
    image = Bbox([(0, 0), size])
    beyond = [np.abs(part - part.clip(0, size)).max() for part in polygons]
    parts = [
        np.asarray(Outline(part).clip_to_bbox(image).vertices) if far else part for part, far in zip(polygons, beyond)
    ]
    mask = [part.ravel().tolist() for part in parts if len(part) >= 3]
    if not mask:
        return Item(name, (0, 0, 0, 0), where, area=0)
    rle = mask_utils.merge(mask_utils.frPyObjects(mask, picture.height, picture.width))
    box, clipped = edges(np.concatenate(parts)), bool(max(beyond) >= LEAST_SIDE)
    return Item(name, box, where, mask=mask, area=float(mask_utils.area(rle)), clipped=clipped)


def to_coco(images: Sequence[Annotated], classes: Sequence[str], summary: ConversionSummary) -> dict:
    """Make the content of a COCO file.

    A box is clipped to its image. It is dropped if nothing is left of it.

    Args:
        images: The images with their objects.
        classes: The classes in their order. Objects of other classes are dropped.
        summary: Receives the counts of what is kept, and one sentence per object that is dropped or clipped.

    Raises:
        UserError: A class has no readable name, or two have the same.
    """
    twice = repeated(classes)
    if twice is not None:
        raise UserError(f'two classes have the name {twice!r}; give each class a name of its own')
    unreadable = [name for name in classes if not is_readable(name)]
    if unreadable:
        raise UserError(
            f'a class has the name {unreadable[0]!r}, which cannot be shown; give it a name with visible characters'
        )
    ids = {label: i for i, label in enumerate(classes, 1)}
    coco: dict[str, list[dict]] = dict(
        categories=[dict(id=i, name=label) for label, i in ids.items()], images=[], annotations=[]
    )
    summary.images = len(images)
    summary.objects = Counter(dict.fromkeys(classes, 0))
    for image_id, (picture, items) in enumerate(images, 1):
        coco['images'].append(
            dict(id=image_id, file_name=picture.file_name, height=picture.height, width=picture.width)
        )
        for number, item in enumerate(items, 1):
            where = f'{Path(picture.file_name).with_suffix("").as_posix()}: object {number} ({item.name}) {item.where}'
            if item.name not in ids:
                summary.dropped.append(f'{where}: its class is not among the requested classes')
                continue
            left, top, right, bottom = item.box
            box = (max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height))
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            if not (w >= LEAST_SIDE and h >= LEAST_SIDE) or item.area == 0:  # also a side that is not a number
                summary.dropped.append(f'{where}: no area inside the {picture.width} x {picture.height} image')
                continue
            if item.clipped or box != item.box:
                summary.clipped.append(where)
            annotation = dict(
                id=len(coco['annotations']) + 1,
                image_id=image_id,
                category_id=ids[item.name],
                bbox=[x, y, w, h],
                area=w * h if item.area is None else item.area,
                iscrowd=int(item.crowd),
            )
            if item.mask is not None:
                annotation['segmentation'] = item.mask
            coco['annotations'].append(annotation)
            summary.objects[item.name] += 1
    return coco


def choose_classes(names: Iterable[str], classes: Sequence[str] | None, order: str) -> list[str]:
    """The classes in their order.

    Args:
        names: The class of every object, in the order of the source.
        classes: The classes that were asked for. None for all.
        order: 'alphabet' or 'appearance', the order of the first object. Used if ``classes`` is None.
    """
    if classes is not None:
        return list(classes)
    found = list(dict.fromkeys(names))
    return sorted(found) if order == 'alphabet' else found


def by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by the first folder in them. The key is '' for names without a folder."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition('/')[0].partition('/')[0], []).append(name)
    return found


def name_splits(folders: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The names of each split: ``a_b`` for those in a folder ``a/b``, and ``all`` for those without a folder.

    Raises:
        UserError: Two folders give the same split.
    """
    sources: dict[str, str] = {}
    for folder in folders:
        split = folder.replace('/', '_') or 'all'
        if split in sources:
            first, second = (
                f'the subfolder {name}' if name else 'the folder itself' for name in (sources[split], folder)
            )
            raise UserError(f'{first} and {second} would both become {split}.json; rename a subfolder')
        sources[split] = folder
    return {split: folders[folder] for split, folder in sources.items()}


def read_splits(
    splits: Mapping[str, Sequence[str]],
    read: Callable[[str, ConversionSummary], Annotated],
    classes: Sequence[str],
    out_dir: Path,
    strict: bool,
    left_out: Mapping[str, Sequence[str]] | None = None,
    sources: Sequence[Path] = (),
) -> dict[str, ConversionSummary]:
    """Read the images of each split, and write its annotation file.

    Args:
        splits: The names of the images of each split.
        read: Reads an image and its objects, or raises a UserError. The image is then dropped.
        classes: The classes in their order.
        out_dir: The folder of the files.
        strict: Write nothing if anything was dropped.
        left_out: The files that no split has, by what they are. The first summary notes them. Defaults to None.
        sources: Files that must not be replaced, because they are converted. Defaults to none.

    Returns:
        The summary of each file that was written, by its path.

    Raises:
        UserError: See :func:`write_splits`.
    """
    contents, summaries = {}, {}
    for split, names in splits.items():
        path = str(out_dir / f'{split}.json')
        summary = summaries[path] = ConversionSummary()
        images = []
        for name in names:
            try:
                images.append(read(name, summary))
            except UserError as error:
                summary.dropped.append(f'{name}: {error}')
        contents[path] = to_coco(images, classes, summary)
    for what, names in (left_out or {}).items():
        if names:
            next(iter(summaries.values())).notes[what] += names
    write_splits(contents, summaries, strict, sources)
    return summaries


def random_splits(names: Sequence[str], fraction: float, seed: int) -> dict[str, list[str]]:
    """Split names at random into 'train' and 'val', see :func:`split_at_random`."""
    parts = split_at_random(len(names), fraction, seed)
    return {split: [names[i] for i in part] for split, part in zip(('train', 'val'), parts)}


def split_at_random(length: int, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Split the numbers from 0 to ``length`` - 1 at random.

    Args:
        length: How many numbers there are.
        fraction: The fraction of the second part, in (0, 1).
        seed: The seed.

    Returns:
        Both parts, each in ascending order.

    Raises:
        UserError: The fraction is not in (0, 1).
    """
    if not 0 < fraction < 1:
        raise UserError(f'the fraction of images for validation must be between 0 and 1; got {fraction}')
    generator = random.Random(seed)
    # random() gives the same numbers in every version of Python. The result of shuffle() may change.
    draws = [generator.random() for _ in range(length)]
    order = sorted(range(length), key=draws.__getitem__)
    chosen = {*order[: round(fraction * length)]}
    return [i for i in range(length) if i not in chosen], [i for i in range(length) if i in chosen]


def write_splits(
    contents: dict[str, dict], summaries: dict[str, ConversionSummary], strict: bool, sources: Sequence[Path]
) -> None:
    """Write all annotation files, or none of them.

    Args:
        contents: The content of each file, by its path.
        summaries: What was dropped, by the same paths.
        strict: Write nothing if anything was dropped.
        sources: Files that must not be replaced.

    Raises:
        UserError: A file would have no objects, something was dropped and ``strict`` is set, or a source would be
            replaced.
    """
    for path, content in contents.items():
        if not content['annotations']:
            problem = ' would have no objects'
        elif strict and summaries[path].dropped:
            problem = ': --strict allows nothing to be dropped'
        else:
            continue
        raise UserError(f'{path}{problem}; nothing was written', *str(summaries[path]).splitlines())
    with ExitStack() as stack:  # the files get their names only after all of them are written
        for path, content in contents.items():
            check_writable(path, *map(str, sources))
            part = stack.enter_context(whole_file(Path(path)))
            part.write_text(json.dumps(content), encoding='utf-8')


def report(summaries: Mapping[str, ConversionSummary], allow_dropped: bool) -> int:
    """Print the summaries of the files that were written.

    Args:
        summaries: The summaries by path.
        allow_dropped: Whether dropped images and objects are expected.

    Returns:
        The exit status: 1 if something was dropped unexpectedly.
    """
    for path, summary in summaries.items():
        print(f'{printable(path)}: {summary}')
    return int(not allow_dropped and any(summary.dropped for summary in summaries.values()))
