"""The forward-looking sonar set of the Peng Cheng Laboratory's contest (XML like Pascal VOC's) to COCO's JSON."""
import random
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from ..errors import UserError
from ..files import write_json
from .voc import Report, read_images, read_objects, to_coco

CLASSES = ('ball', 'circle cage', 'cube', 'cylinder', 'human body', 'metal bucket', 'square cage', 'tyre')

# All that the boxes do not need: the tags of other elements, the XML declaration, comments, stray ampersands.
_NOT_NEEDED = re.compile(
    r'<!--.*?-->|<(?!/?(?:annotation|object|name|difficult|bndbox|[xy]min|[xy]max)(?:\s[^<>]*)?>)[^<>]*>|&', re.DOTALL)


def sonar_to_coco(root: str, out_dir: str, val_fraction: float = 0.2, seed: int = 0,
                  classes: Sequence[str] = CLASSES) -> Tuple[List[str], Dict[str, Report]]:
    """Split the sonar set (``images/*.bmp``, ``xml/*.xml``) at random and write ``train.json`` and ``val.json``.

    The labels of the contest's test images are not public, so what is evaluated on has to come from the labelled
    ones. The split depends on the sorted names of the usable images and on the seed alone, not on the classes.

    The XML that the set's page prints is not well formed. A file that is not is read again without all that its
    boxes do not need, so that only the elements from ``annotation`` to ``xmax`` have to be whole. A box is taken
    as :func:`~econvnext_mmdet.datasets.voc.voc_to_coco` takes it, and dropped for the same reasons.

    Args:
        root (str): The folder with ``images`` and ``xml``.
        out_dir (str): Where to write the two files; it is made.
        val_fraction (float): The part of the usable images that goes to ``val.json``, in (0, 1). Defaults to 0.2.
        seed (int): Seed of the split. Defaults to 0.
        classes (Sequence[str]): The classes in their order; objects of others are dropped. Defaults to the set's
            eight.

    Returns:
        Tuple[list, dict]: A sentence for each image that could not be used, and of 'train' and 'val' what was
            written and what was dropped.

    Raises:
        UserError: A folder is missing, the fraction is not in (0, 1), no image is usable, or one of the two files
            would have no image or no object. Nothing is written.
    """
    if not 0 < val_fraction < 1:
        raise UserError(f'the fraction of the images for validation must be between 0 and 1, got {val_fraction}')
    folder = Path(root)
    if not (folder / 'images').is_dir() or not (folder / 'xml').is_dir():
        raise UserError(f'{root} is no folder of the sonar set: expected images/ (.bmp) and xml/ (.xml) in it.')
    pictures = [path for path in (folder / 'images').iterdir() if path.suffix.lower() == '.bmp']
    names = sorted({path.stem for path in (*pictures, *(folder / 'xml').glob('*.xml'))})
    images, unusable = read_images(names, pictures, folder / 'xml', _read_objects)
    reasons = ''.join(f'\n  {reason}' for reason in unusable)
    if not images:
        raise UserError(f'no image of {root} is usable: expected images/NAME.bmp with its xml/NAME.xml, found '
                        f'{len(pictures)} .bmp files.{reasons}')

    contents, reports = {}, {}
    for split, part in zip(('train', 'val'), _split(images, val_fraction, seed)):
        if not part:
            raise UserError(f'{split}.json would have no image: {root} has {len(images)} usable images, of which '
                            f'{val_fraction} are for validation. Take another fraction or more images.{reasons}')
        reports[split] = Report()
        contents[split] = to_coco(part, classes, reports[split])
        if not contents[split]['annotations']:
            raise UserError(f'{split}.json would have no object of the classes {", ".join(classes)}. Give the classes '
                            f'that {root} has, or take another seed or fraction.\n{reports[split]}')
    for split, content in contents.items():
        write_json(str(Path(out_dir) / f'{split}.json'), content)
    return unusable, reports


def _split(images: Sequence[tuple], val_fraction: float, seed: int) -> Tuple[List[tuple], List[tuple]]:
    """The images for training and those for validation, each in the order given."""
    generator = random.Random(seed)
    # Python keeps the numbers of random() from version to version, but not what shuffle() makes of them.
    draws = [generator.random() for _ in images]
    order = sorted(range(len(images)), key=draws.__getitem__)
    chosen = {*order[:round(val_fraction * len(images))]}
    return ([image for i, image in enumerate(images) if i not in chosen],
            [image for i, image in enumerate(images) if i in chosen])


def _read_objects(path: Path) -> List[tuple]:
    """The objects of an annotation file, which must have one: the files of the contest's test images have none."""
    objects = read_objects(path, _parse)
    if not objects:
        raise UserError(f'{path.name} has no object')
    return objects


def _parse(content: bytes) -> ElementTree.Element:
    """The root element of an annotation file, well-formed or not."""
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):  # the last two: an encoding that is not known
        # What is needed is ASCII, whatever the encoding of the rest.
        text = content.decode('utf-8-sig', errors='replace')
        return ElementTree.fromstring(_NOT_NEEDED.sub('', text))
