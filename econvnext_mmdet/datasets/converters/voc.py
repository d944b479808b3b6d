"""Conversion of Pascal VOC annotations (XML) to COCO's JSON."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath

import numpy as np

from ...utils.errors import UserError
from ...utils.files import check_no_pipe
from .common import (
    Annotated,
    ConversionSummary,
    Item,
    Picture,
    by_folder,
    choose_classes,
    edges,
    find_files,
    find_pictures,
    is_fraction,
    name_splits,
    placement,
    random_splits,
    read_each,
    read_picture,
    read_split,
    read_splits,
    stated_size,
    to_number,
    unmatched,
)

USUAL_SPLITS = ('train', 'val', 'trainval', 'test')
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
# What an object has once.
PARTS = ('name', 'bndbox', 'difficult', *(f'bndbox/{key}' for key in CORNERS))
# What `difficult` means. Without a value, it is 0.
DIFFICULT = {
    **dict.fromkeys(('', '0', '0.0', 'false', 'no', 'unspecified'), False),
    **dict.fromkeys(('1', '1.0', 'true', 'yes'), True),
}


@dataclass
class VocFile:
    """The content of an annotation file.

    Attributes:
        size: Width and height in pixels that the file states, or None if it states none.
        image: The name of the image that the file states, without its folder and its file extension. '' if none.
        items: The objects. Their boxes are xmin, ymin, xmax and ymax as in the file.
        unusable: One sentence per object that lacks a name or a box, has one of its parts twice, or has another value
            of ``difficult`` than 0 or 1.
    """

    size: tuple[float, float] | None
    image: str = ''
    items: list[Item] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


@dataclass
class VocFolder:
    """The files of a folder.

    Attributes:
        images: The folder of the images.
        pictures: The image files by name, from :func:`~.common.find_pictures`.
        annotations: The annotation files by name, from :func:`~.common.find_files`.
        splits: The names of each split. The key is '' for names that are in no split.
        unannotated: The images without an annotation file that would belong to these splits. Empty if there are lists.
    """

    images: Path
    pictures: dict[str, list[Path]]
    annotations: dict[str, list[Path]]
    splits: dict[str, list[str]]
    unannotated: list[str]


def voc_to_coco(
    root: str,
    out_dir: str | None = None,
    splits: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    order: str = 'alphabet',
    val_fraction: float | None = None,
    seed: int = 0,
    strict: bool = False,
) -> dict[str, ConversionSummary]:
    """Convert a folder with Pascal VOC annotations to COCO files, one per split.

    The folder has ``Annotations/``, ``JPEGImages/`` and, optionally, ``ImageSets/Main/`` with the splits. Or the XML
    files lie beside the images. Then each subfolder of the root with XML files is a split.

    A VOC box counts pixels from 1 and includes its last pixel. COCO's (x, y, w, h) is therefore (xmin - 1, ymin - 1,
    xmax - xmin + 1, ymax - ymin + 1), as in the VOC development kit. Objects marked ``difficult`` become crowd
    regions. Evaluation ignores them. Training does not use them as objects, so most detectors see background there.

    Boxes become those of the image as training reads it, rotated according to its EXIF data. They are scaled if
    ``size`` in the XML has another number of pixels with the same aspect ratio, and rotated if it is that of the stored
    pixels. Boxes from 0 to 1 are fractions of the image.

    An image is dropped if its image file or its annotation file is not readable, or if ``size`` has another aspect
    ratio. An image without an annotation file is dropped if a split file lists it, or else left out; the first summary
    counts these. A box is dropped if xmax <= xmin, if ymax <= ymin, or if it lies outside its image. It is clipped if
    it extends over the border. The summary names everything dropped, and counts what was clipped, scaled and rotated.

    Args:
        root: The folder.
        out_dir: The folder of the JSON files. It is created. Defaults to None: ``annotations`` in ``root``.
        splits: The names of the splits. Defaults to None: those of train, val, trainval and test in ``ImageSets/Main``,
            or else the subfolders, or else ``all``.
        classes: The classes in their order. Objects of other classes are dropped. Defaults to None: all classes that
            occur in the annotation files, so that every split has the same classes.
        order: The order of all classes, 'alphabet' or 'appearance': that of the first object. Defaults to 'alphabet'.
        val_fraction: Split the images at random into train and val, with this fraction for val. Defaults to None.
        seed: The seed of this split. Defaults to 0.
        strict: Write nothing if anything is dropped. Defaults to False.

    Returns:
        The summary of each file that was written.

    Raises:
        UserError: A folder or a split is missing, or nothing is left to write for one of the files.
    """
    folder = find_voc(Path(root), splits)
    if val_fraction is None:
        parts = name_splits(folder.splits)
    else:
        names = list(dict.fromkeys(name for part in folder.splits.values() for name in part))  # trainval repeats train
        parts = random_splits(names, val_fraction, seed)
    files = read_each(folder.annotations, read_voc, 'annotation')
    stems = {picture.rpartition('/')[2] for picture in folder.pictures}

    def read(name: str, summary: ConversionSummary) -> Annotated:
        picture = read_picture(folder.pictures, name, folder.images)
        file = files.get(name) or UserError(f'no annotation file {name}.xml')
        if isinstance(file, UserError):
            raise file
        if file.image and file.image != name.rpartition('/')[2] and file.image in stems:
            summary.notes['whose annotation file names another of the images; check the objects'].append(
                picture.file_name
            )
        items = place_boxes(file, picture, summary)
        summary.dropped += [f'{name}: {reason}' for reason in file.unusable]
        return picture, items

    objects = (item.name for file in files.values() if isinstance(file, VocFile) for item in file.items)
    return read_splits(
        parts,
        read,
        choose_classes(objects, classes, order),
        Path(out_dir or Path(root) / 'annotations'),
        strict,
        {'images without an annotation file, left out': folder.unannotated},
    )


def find_voc(root: Path, splits: Sequence[str] | None = None) -> VocFolder:
    """Find the files of a folder with Pascal VOC annotations, see :func:`voc_to_coco`."""
    if (root / 'Annotations').is_dir() and (root / 'JPEGImages').is_dir():
        images, lists = root / 'JPEGImages', root / 'ImageSets' / 'Main'
        pictures, annotations = find_pictures(images), find_files(root / 'Annotations', ('.xml',))
        names = {path.stem for path in lists.glob('*.txt') if not path.is_dir()}
        for split in {*(splits or ())} - names:
            others = ', '.join(sorted(names)) or 'none'
            raise UserError(f'no split file {lists / f"{split}.txt"}; the splits in this folder are: {others}')
        known = {*pictures, *annotations}
        listed = {
            split: read_split(lists / f'{split}.txt', known) for split in splits or USUAL_SPLITS if split in names
        }
        if listed:
            return VocFolder(images, pictures, annotations, listed, [])
        return VocFolder(
            images, pictures, annotations, {'': sorted(annotations)}, unmatched(pictures, annotations, images)
        )
    annotations = find_files(root, ('.xml',)) if root.is_dir() else {}
    if not annotations:
        raise UserError(
            f'{root} is not a Pascal VOC folder: expected Annotations/ and JPEGImages/ in it, or XML files beside the '
            'images'
        )
    pictures, folders = find_pictures(root), by_folder(annotations)
    for split in {*(splits or ())} - {folder or 'all' for folder in folders}:
        others = ', '.join(filter(None, folders)) or 'none'
        raise UserError(f'no folder {root / split} with XML files; there are: {others}')
    unannotated = unmatched(pictures, annotations, root)
    if splits:
        chosen = [folder for split in splits for folder in folders if (folder or 'all') == split]
        folders = {folder: folders[folder] for folder in chosen}
        unannotated = [name for folder, names in by_folder(unannotated).items() if folder in chosen for name in names]
    return VocFolder(root, pictures, annotations, folders, unannotated)


def read_voc(path: Path, parse: Callable[[bytes], ElementTree.Element] | None = None) -> VocFile:
    """Read an annotation file.

    Args:
        path: The XML file.
        parse: Turns the file's content into its root element. Defaults to None: :func:`parse_xml`.

    Returns:
        The content. White space in class names is reduced to single spaces.

    Raises:
        UserError: The file is missing or a pipe, is not XML or not of Pascal VOC, or has objects of which none is
            usable.
    """
    check_no_pipe(path)
    try:
        root = (parse or parse_xml)(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f'no annotation file {path.name}') from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: a wrong or unknown encoding
        raise UserError(f'{path.name} is not well-formed XML ({error})') from None
    for element in root.iter():
        if isinstance(element.tag, str):
            # Without the namespace. Some tools write capital letters.
            element.tag = element.tag.rpartition('}')[2].lower()
    if root.tag != 'annotation':  # another file may have no objects because they have another name in it
        raise UserError(
            f'{path.name} is no annotation file of Pascal VOC: expected <annotation> around it, not <{root.tag}>'
        )
    file = VocFile(
        stated_size(root.findtext('size/width'), root.findtext('size/height')),
        PureWindowsPath(root.findtext('filename', '').strip()).stem,  # it takes both / and \\
    )
    for number, element in enumerate(root.iter('object'), 1):
        twice = [path for path in PARTS if len(element.findall(path)) > 1]
        if twice:
            file.unusable.append(f'object {number} of {path.name} has {twice[0]} twice')
            continue
        label = ' '.join(element.findtext('name', '').split())
        try:
            corners = tuple(to_number(element.findtext(f'bndbox/{key}', '')) for key in CORNERS)
            if not label or not all(map(math.isfinite, corners)):
                raise ValueError
        except ValueError:
            file.unusable.append(f'object {number} of {path.name} lacks a name or one of the four numbers of its box')
            continue
        difficult = element.findtext('difficult', '').strip()
        if difficult.lower() not in DIFFICULT:
            file.unusable.append(
                f'object {number} of {path.name} has the value {difficult!r} of difficult; expected 0 or 1'
            )
            continue
        file.items.append(Item(label, corners, str(corners), DIFFICULT[difficult.lower()]))
    if file.unusable and not file.items:  # without objects, it would teach the detector that there are none
        raise UserError(file.unusable[0])
    return file


def parse_xml(content: bytes) -> ElementTree.Element:
    """Parse XML in the encoding that it declares. ElementTree alone knows none of the encodings of East Asia."""
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):
        declared = re.match(rb'\s*<\?xml[^>]*?encoding=["\']([\w.-]+)["\']', content)
        if declared is None:
            raise
        text = content.decode(_superset(declared[1].decode()))
        return ElementTree.fromstring(re.sub(r'^\s*<\?xml[^>]*\?>', '', text, count=1))


def _superset(encoding: str) -> str:
    """Python's codec for an encoding. Files that declare gb2312 often have characters of its superset gb18030."""
    return 'gb18030' if encoding.lower() in ('gb2312', 'gbk') else encoding


def place_boxes(file: VocFile, picture: Picture, summary: ConversionSummary) -> list[Item]:
    """Convert the boxes of an annotation file to edges in pixels of its image, see :func:`voc_to_coco`.

    Args:
        file: The content of the file. It stays as it is, because several splits may have its image.
        picture: The image.
        summary: Receives a note if the boxes are fractions, or are scaled or rotated.

    Returns:
        The objects with these boxes.

    Raises:
        UserError: The file states a size with another aspect ratio than that of the image.
    """
    corners = [item.box for item in file.items]
    fractions = bool(corners) and all(is_fraction(value) for box in corners for value in box)
    if fractions:
        summary.notes['boxes from 0 to 1, read as fractions of the image'].append(picture.file_name)
    place = placement(file.size, picture, summary, fractions)
    items = []
    for item, (left, top, right, bottom) in zip(file.items, corners):
        if right <= left or bottom <= top:
            right, bottom = left, top  # neither the first pixel nor the order of the corners gives it an area
        elif not fractions:
            left, top = left - 1, top - 1
        items.append(replace(item, box=edges(place(np.array(((left, top), (right, bottom)))))))
    return items
