"""Pascal VOC annotations (XML) to COCO's JSON."""
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Sequence

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
    report = Report()
    images, objects = [], []
    pictures = {path.stem: path for path in sorted((folder / 'JPEGImages').iterdir())}
    for name in _names(folder, split):
        try:
            file_name, height, width = _read_picture(pictures, name)
            found = _read_objects(folder / 'Annotations' / f'{name}.xml')
        except UserError as error:
            report.dropped.append(f'{name}: {error}')
            continue
        images.append(dict(id=len(images) + 1, file_name=file_name, height=height, width=width))
        for number, (label, corners, difficult) in enumerate(found, 1):
            where = f'{name}: object {number} ({label}) {corners}'
            if label not in classes:
                report.dropped.append(f'{where}: its class is not among those asked for')
                continue
            box = _clip(corners, height, width)
            if box is None:
                report.dropped.append(f'{where}: no area within the image of {width} x {height}')
                continue
            objects.append(dict(label=label, image_id=len(images), bbox=box, area=box[2] * box[3],
                                iscrowd=int(difficult)))
            report.objects[label] += 1
    if not objects:
        raise UserError(f'no object of {root} is left to convert.\n{report}')

    ids = {label: i + 1 for i, label in enumerate(classes)}
    for i, item in enumerate(objects):
        item.update(id=i + 1, category_id=ids[item.pop('label')])
    report.images = len(images)
    report.objects = Counter({name: report.objects[name] for name in classes})
    write_json(out, dict(categories=[dict(id=i, name=name) for name, i in ids.items()], images=images,
                         annotations=objects))
    return report


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
            classes |= {label for label, _, _ in _read_objects(path)}
        except UserError:
            continue  # reported where its image is converted
    return sorted(classes)


def _read_picture(pictures: Dict[str, Path], name: str) -> tuple:
    """The file name, height and width of a picture, from the picture itself: VOC's XML may be wrong."""
    if name not in pictures:
        raise UserError(f'no picture {name}.* in JPEGImages')
    try:
        image = imread(str(pictures[name]))  # as training reads it: turned as its EXIF data says
    except cv2.error:  # of an empty file
        image = None
    if image is None:
        raise UserError(f'{pictures[name].name} is not a readable picture')
    return (pictures[name].name, *image.shape[:2])


def _read_objects(path: Path) -> List[tuple]:
    """The objects of an annotation file: class, corners (xmin, ymin, xmax, ymax) as in the file, difficult."""
    try:
        root = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise UserError(f'no annotation file {path.name}') from None
    except ElementTree.ParseError as error:
        raise UserError(f'{path.name} is not well-formed XML ({error})') from None
    objects = []
    for number, item in enumerate(root.iter('object'), 1):
        try:
            corners = tuple(float(item.findtext(f'bndbox/{key}')) for key in ('xmin', 'ymin', 'xmax', 'ymax'))
            objects.append((item.findtext('name').strip(), corners, item.findtext('difficult', '0').strip() == '1'))
        except (TypeError, ValueError, AttributeError):
            raise UserError(f'object {number} of {path.name} lacks a name or a number of its box') from None
    return objects


def _clip(corners: tuple, height: int, width: int) -> Optional[list]:
    """COCO's (x, y, w, h) of VOC's corners within the image, None where nothing is left."""
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        return None
    left, top = max(corners[0] - 1, 0), max(corners[1] - 1, 0)
    right, bottom = min(corners[2], width), min(corners[3], height)
    return [left, top, right - left, bottom - top] if right > left and bottom > top else None
