"""Pascal VOC annotations (XML) to COCO's JSON."""
import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Sequence, Tuple

import cv2
from mmcv.image import imread

from ..errors import UserError
from ..files import write_json


@dataclass
class Report:
    """What a conversion kept and what it dropped.

    ``dropped`` has a sentence for each thing dropped: where it is and why. ``objects`` counts by class.
    """
    images: int = 0
    objects: Counter = field(default_factory=Counter)
    dropped: List[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f'{self.images} images, {sum(self.objects.values())} objects: '
                 + ', '.join(f'{name} {count}' for name, count in self.objects.items())]
        if self.dropped:
            lines.append(f'dropped {len(self.dropped)}:')
            lines += [f'  {line}' for line in self.dropped]
        else:
            lines.append('dropped nothing')
        return '\n'.join(lines)


def voc_to_coco(root: str, out: str, split: Optional[str] = None,
                classes: Optional[Sequence[str]] = None) -> Report:
    """Convert a Pascal VOC folder (``Annotations/``, ``JPEGImages/``, ``ImageSets/Main/``) to a COCO file.

    A VOC box counts pixels from 1 and includes its last one: COCO's (x, y, w, h) is (xmin - 1, ymin - 1,
    xmax - xmin + 1, ymax - ymin + 1), as in the VOC development kit. Objects marked ``difficult`` become
    crowd regions, which evaluation and training ignore.

    An image without a readable annotation or picture is dropped; so is a box without area or outside its
    image, while a box that reaches over the border is clipped. The report names each.

    Args:
        root (str): The VOC folder.
        out (str): The JSON file to write; its folder is made.
        split (str, optional): Name of the split file in ``ImageSets/Main``, as 'train'. Defaults to None:
            every annotation in ``Annotations``.
        classes (Sequence[str], optional): The classes in their order; objects of others are dropped. Defaults
            to None: all that occur in ``Annotations``, sorted, so that every split has the same.

    Returns:
        Report: What was written and what was dropped.

    Raises:
        UserError: A folder or the split file is missing, or nothing is left to write.
    """
    folder = Path(root)
    if not (folder / 'Annotations').is_dir() or not (folder / 'JPEGImages').is_dir():
        raise UserError(f'{root} is no Pascal VOC folder: expected Annotations/ and JPEGImages/ in it.')
    if classes is None:
        classes = _all_classes(folder)
    images, unusable = read_images(_names(folder, split), (folder / 'JPEGImages').iterdir(), folder / 'Annotations')
    report = Report(dropped=unusable)
    coco = to_coco(images, classes, report)
    if not coco['annotations']:
        raise UserError(f'no object of {root} is left to convert.\n{report}')
    write_json(out, coco)
    return report


def read_objects(path: Path, parse: Callable[[bytes], ElementTree.Element] = ElementTree.fromstring) -> List[tuple]:
    """The objects of an annotation file.

    Args:
        path (Path): The XML file.
        parse (Callable): Makes the root element of the file's content. Defaults to ElementTree.fromstring.

    Returns:
        List[tuple]: Of each object its class, with single spaces, its corners (xmin, ymin, xmax, ymax) as in the
            file, and whether it is difficult.

    Raises:
        UserError: The file is missing or no XML, or an object lacks a name or a number.
    """
    try:
        root = parse(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f'no annotation file {path.name}') from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: an encoding that is not known
        raise UserError(f'{path.name} is not well-formed XML ({error})') from None
    objects = []
    for number, item in enumerate(root.iter('object'), 1):
        try:
            label = ' '.join(item.findtext('name').split())
            corners = tuple(float(item.findtext(f'bndbox/{key}')) for key in ('xmin', 'ymin', 'xmax', 'ymax'))
            if not label or not all(map(math.isfinite, corners)):
                raise ValueError
        except (TypeError, ValueError, AttributeError):
            raise UserError(f'object {number} of {path.name} lacks a name or a number of its box') from None
        objects.append((label, corners, item.findtext('difficult', '0').strip() == '1'))
    return objects


def read_images(names: Sequence[str], pictures: Iterable[Path], annotations: Path,
                read: Callable[[Path], List[tuple]] = read_objects) -> Tuple[List[tuple], List[str]]:
    """Read the pictures and the annotation files of some names.

    Args:
        names (Sequence[str]): The names, without their endings.
        pictures (Iterable[Path]): The files to find the pictures among.
        annotations (Path): The folder of the XML files.
        read (Callable): Gives the objects of an annotation file, or raises UserError. Defaults to
            :func:`read_objects`.

    Returns:
        Tuple[list, list]: Of each image whose picture and annotations are readable the file name, the height and
            the width in pixels and the objects, as :func:`to_coco` takes them; and for each other name a sentence
            that says why it is not.
    """
    paths = {path.stem: path for path in sorted(pictures)}
    images, unusable = [], []
    for name in names:
        try:
            images.append((*_read_picture(paths, name), read(annotations / f'{name}.xml')))
        except UserError as error:
            unusable.append(f'{name}: {error}')
    return images, unusable


def to_coco(images: Sequence[tuple], classes: Sequence[str], report: Report) -> dict:
    """The content of a COCO file.

    Args:
        images (Sequence[tuple]): Of each image the file name, the height, the width and the objects; of each object
            the class, VOC's corners and whether it is difficult. See :func:`read_images`.
        classes (Sequence[str]): The classes in their order; objects of others are dropped.
        report (Report): Gets the counts of what is kept, and a sentence for each object that is dropped.
    """
    ids = {label: i for i, label in enumerate(classes, 1)}
    coco = dict(categories=[dict(id=i, name=label) for label, i in ids.items()], images=[], annotations=[])
    report.images = len(images)
    report.objects = Counter(dict.fromkeys(classes, 0))
    for image_id, (file_name, height, width, objects) in enumerate(images, 1):
        coco['images'].append(dict(id=image_id, file_name=file_name, height=height, width=width))
        for number, (label, corners, difficult) in enumerate(objects, 1):
            where = f'{Path(file_name).stem}: object {number} ({label}) {corners}'
            if label not in ids:
                report.dropped.append(f'{where}: its class is not among those asked for')
                continue
            box = _clip(corners, height, width)
            if box is None:
                report.dropped.append(f'{where}: no area within the image of {width} x {height}')
                continue
            coco['annotations'].append(dict(
                id=len(coco['annotations']) + 1, image_id=image_id, category_id=ids[label], bbox=box,
                area=box[2] * box[3], iscrowd=int(difficult)))
            report.objects[label] += 1
    return coco


def _names(folder: Path, split: Optional[str]) -> List[str]:
    """The names of a split's images, without their endings."""
    if split is None:
        return sorted(path.stem for path in (folder / 'Annotations').glob('*.xml'))
    path = folder / 'ImageSets' / 'Main' / f'{split}.txt'
    if not path.is_file():
        there = ', '.join(sorted(p.stem for p in path.parent.glob('*.txt'))) or 'none'
        raise UserError(f'no split file {path}; the splits there are: {there}.')
    # A class's own split file has a second column, which says whether the class is in the image.
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]


def _all_classes(folder: Path) -> List[str]:
    """The classes of all readable annotations, sorted."""
    classes = set()
    for path in (folder / 'Annotations').glob('*.xml'):
        try:
            classes |= {label for label, _, _ in read_objects(path)}
        except UserError:
            continue  # reported where its image is converted
    return sorted(classes)


def _read_picture(pictures: Dict[str, Path], name: str) -> tuple:
    """The file name, height and width of a picture, from the picture itself: VOC's XML may be wrong."""
    if name not in pictures:
        raise UserError(f'no picture {name}.*')
    try:
        image = imread(str(pictures[name]))  # as training reads it: turned as its EXIF data says
    except cv2.error:  # of an empty file
        image = None
    if image is None:
        raise UserError(f'{pictures[name].name} is not a readable picture')
    return (pictures[name].name, *image.shape[:2])


def _clip(corners: tuple, height: int, width: int) -> Optional[list]:
    """COCO's (x, y, w, h) of VOC's corners within the image, None where nothing is left."""
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        return None
    left, top = max(corners[0] - 1, 0), max(corners[1] - 1, 0)
    right, bottom = min(corners[2], width), min(corners[3], height)
    return [left, top, right - left, bottom - top] if right > left and bottom > top else None
