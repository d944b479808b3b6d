"""Conversion of Pascal VOC annotations (XML) to COCO's JSON."""

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
from mmcv.image import imread

from ...utils.errors import UserError
from ...utils.files import write_json

# The objects of an annotation file: the class, the corners (xmin, ymin, xmax, ymax) as in the file, and whether the
# object is difficult.
Objects = list[tuple[str, tuple[float, ...], bool]]
# An image: the file name, the height and the width in pixels, and the objects.
Image = tuple[str, int, int, Objects]


@dataclass
class ConversionSummary:
    """The images and objects that a conversion kept, and those that it dropped.

    Attributes:
        images: Number of images kept.
        objects: Number of objects kept, by class.
        dropped: One sentence per dropped image or object, which says where it is and why it was dropped.
    """

    images: int = 0
    objects: Counter = field(default_factory=Counter)
    dropped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [
            f'{self.images} images, {sum(self.objects.values())} objects: '
            + ', '.join(f'{name} {count}' for name, count in self.objects.items())
        ]
        if self.dropped:
            lines.append(f'dropped {len(self.dropped)}:')
            lines += [f'  {line}' for line in self.dropped]
        else:
            lines.append('dropped nothing')
        return '\n'.join(lines)


def voc_to_coco(
    root: str, out: str, split: str | None = None, classes: Sequence[str] | None = None
) -> ConversionSummary:
    """Convert a Pascal VOC folder (``Annotations/``, ``JPEGImages/``, ``ImageSets/Main/``) to a COCO file.

    A VOC box counts pixels from 1 and includes its last pixel. COCO's (x, y, w, h) is therefore (xmin - 1, ymin - 1,
    xmax - xmin + 1, ymax - ymin + 1), as in the VOC development kit. Objects marked ``difficult`` become crowd
    regions. Evaluation ignores them. Training does not use them as objects, so most detectors see background there.

    An image is dropped if its image file or its annotation file is not readable. A box is dropped if xmax <= xmin, if
    ymax <= ymin, or if it lies outside its image. It is clipped if it extends over the border. The summary names
    everything dropped.

    Args:
        root: The VOC folder.
        out: The JSON file to write. Its folder is created.
        split: The name of a split file in ``ImageSets/Main``, such as 'train'. Defaults to None: all annotation files
            in ``Annotations``.
        classes: The classes in their order. Objects of other classes are dropped. Defaults to None: all classes that
            occur in ``Annotations``, sorted, so that every split has the same classes.

    Returns:
        The counts of what was written, and one sentence per dropped image or object.

    Raises:
        UserError: A folder or the split file is missing, or nothing is left to write.
    """
    folder = Path(root)
    if not (folder / 'Annotations').is_dir() or not (folder / 'JPEGImages').is_dir():
        raise UserError(f'{root} is not a Pascal VOC folder: expected Annotations/ and JPEGImages/ in it')
    if classes is None:
        classes = _all_classes(folder)
    images, unusable = read_images(_names(folder, split), (folder / 'JPEGImages').iterdir(), folder / 'Annotations')
    summary = ConversionSummary(dropped=unusable)
    coco = to_coco(images, classes, summary)
    if not coco['annotations']:
        raise UserError(f'{root} has no objects left to convert\n{summary}')
    write_json(out, coco)
    return summary


def read_objects(path: Path, parse: Callable[[bytes], ElementTree.Element] = ElementTree.fromstring) -> Objects:
    """Read the objects of an annotation file.

    Args:
        path: The XML file.
        parse: Turns the file's content into its root element. Defaults to ElementTree.fromstring.

    Returns:
        One (class, corners, difficult) per object. White space in class names is reduced to single spaces. The corners
        (xmin, ymin, xmax, ymax) are those in the file.

    Raises:
        UserError: The file is missing or is not XML, or an object lacks a name or a number.
    """
    try:
        root = parse(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f'no annotation file {path.name}') from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: an unknown encoding
        raise UserError(f'{path.name} is not well-formed XML ({error})') from None
    objects = []
    for number, item in enumerate(root.iter('object'), 1):
        try:
            label = ' '.join(item.findtext('name', '').split())
            corners = tuple(float(item.findtext(f'bndbox/{key}', '')) for key in ('xmin', 'ymin', 'xmax', 'ymax'))
            if not label or not all(map(math.isfinite, corners)):
                raise ValueError
        except ValueError:
            raise UserError(
                f'object {number} of {path.name} lacks a name or one of the four numbers of its box'
            ) from None
        objects.append((label, corners, item.findtext('difficult', '0').strip() == '1'))
    return objects


def read_images(
    names: Sequence[str],
    pictures: Iterable[Path],
    annotations: Path,
    read: Callable[[Path], Objects] = read_objects,
) -> tuple[list[Image], list[str]]:
    """Read the image files and the annotation files of some images.

    Args:
        names: The names of the images, without file extensions.
        pictures: All image files of the folder.
        annotations: The folder of the XML files.
        read: Reads the objects of an annotation file, or raises a UserError. Defaults to :func:`read_objects`.

    Returns:
        One (file name, height, width, objects) per image whose files are both readable, and one sentence per other
        image, which says why it is not usable.
    """
    paths = {path.stem: path for path in sorted(pictures)}
    images, unusable = [], []
    for name in names:
        try:
            images.append((*_read_picture(paths, name), read(annotations / f'{name}.xml')))
        except UserError as error:
            unusable.append(f'{name}: {error}')
    return images, unusable


def to_coco(images: Sequence[Image], classes: Sequence[str], summary: ConversionSummary) -> dict:
    """Make the content of a COCO file.

    Args:
        images: The images, as :func:`read_images` returns them.
        classes: The classes in their order. Objects of other classes are dropped.
        summary: Receives the counts of what is kept, and one sentence per dropped object.
    """
    ids = {label: i for i, label in enumerate(classes, 1)}
    coco: dict[str, list[dict]] = dict(
        categories=[dict(id=i, name=label) for label, i in ids.items()], images=[], annotations=[]
    )
    summary.images = len(images)
    summary.objects = Counter(dict.fromkeys(classes, 0))
    for image_id, (file_name, height, width, objects) in enumerate(images, 1):
        coco['images'].append(dict(id=image_id, file_name=file_name, height=height, width=width))
        for number, (label, corners, difficult) in enumerate(objects, 1):
            where = f'{Path(file_name).stem}: object {number} ({label}) {corners}'
            if label not in ids:
                summary.dropped.append(f'{where}: its class is not among the requested classes')
                continue
            box = _clip(corners, height, width)
            if box is None:
                summary.dropped.append(f'{where}: no area inside the {width} x {height} image')
                continue
            coco['annotations'].append(
                dict(
                    id=len(coco['annotations']) + 1,
                    image_id=image_id,
                    category_id=ids[label],
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=int(difficult),
                )
            )
            summary.objects[label] += 1
    return coco


def _names(folder: Path, split: str | None) -> list[str]:
    """The names of the images of a split, without file extensions."""
    if split is None:
        return sorted(path.stem for path in (folder / 'Annotations').glob('*.xml'))
    path = folder / 'ImageSets' / 'Main' / f'{split}.txt'
    if not path.is_file():
        found = ', '.join(sorted(p.stem for p in path.parent.glob('*.txt'))) or 'none'
        raise UserError(f'no split file {path}; the splits in this folder are: {found}')
    # The split file of a class has a second column, which says whether the class is in the image.
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]


def _all_classes(folder: Path) -> list[str]:
    """The classes of all readable annotations, sorted."""
    classes = set()
    for path in (folder / 'Annotations').glob('*.xml'):
        try:
            classes |= {label for label, _, _ in read_objects(path)}
        except UserError:
            continue  # read_images gives the reason
    return sorted(classes)


def _read_picture(pictures: dict[str, Path], name: str) -> tuple[str, int, int]:
    """The file name, height and width of an image file. The size in the XML is not used, because it may be wrong."""
    if name not in pictures:
        raise UserError(f'no image file {name}.*')
    try:
        image = imread(str(pictures[name]))  # as training reads it: rotated according to its EXIF data
    except cv2.error:  # the file is empty
        image = None
    if image is None:
        raise UserError(f'{pictures[name].name} is not a readable image')
    height, width = image.shape[:2]
    return pictures[name].name, height, width


def _clip(corners: tuple[float, ...], height: int, width: int) -> list[float] | None:
    """Convert VOC's corners to COCO's (x, y, w, h), clipped to the image. None if nothing is left."""
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        return None
    left, top = max(corners[0] - 1, 0), max(corners[1] - 1, 0)
    right, bottom = min(corners[2], width), min(corners[3], height)
    return [left, top, right - left, bottom - top] if right > left and bottom > top else None
