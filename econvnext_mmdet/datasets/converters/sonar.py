"""Convert the forward-looking sonar dataset (from a contest of the Peng Cheng Laboratory) to COCO's JSON.

Its annotations are XML files like those of Pascal VOC.
"""

import random
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from ...utils.errors import UserError
from ...utils.files import write_json
from .voc import ConversionSummary, Image, Objects, read_images, read_objects, to_coco

CLASSES = ('ball', 'circle cage', 'cube', 'cylinder', 'human body', 'metal bucket', 'square cage', 'tyre')

# Everything that the boxes do not need: tags of other elements, the XML declaration, comments, and every '&'.
_NOT_NEEDED = re.compile(
    r'<!--.*?-->|<(?!/?(?:annotation|object|name|difficult|bndbox|[xy]min|[xy]max)(?:\s[^<>]*)?>)[^<>]*>|&', re.DOTALL
)


def sonar_to_coco(
    root: str, out_dir: str, val_fraction: float = 0.2, seed: int = 0, classes: Sequence[str] = CLASSES
) -> tuple[list[str], dict[str, ConversionSummary]]:
    """Split the sonar dataset (``images/*.bmp``, ``xml/*.xml``) at random and write ``train.json`` and ``val.json``.

    The labels of the contest's test images are not public, so the validation images are some of the labelled images.
    The split depends only on the sorted names of the usable images, the fraction and the seed, not on the classes.

    The XML files of the dataset may be malformed. In a malformed file, everything that its boxes do not need is
    removed, and the rest is read again. Only ``annotation``, ``object``, ``name``, ``difficult``, ``bndbox`` and the
    four numbers in it have to be intact. Boxes are converted as in
    :func:`~econvnext_mmdet.datasets.converters.voc.voc_to_coco`, and dropped for the same reasons.

    Args:
        root: The folder with ``images`` and ``xml``.
        out_dir: The folder for the two files. It is created.
        val_fraction: The fraction of the usable images that goes to ``val.json``, in (0, 1). Defaults to 0.2.
        seed: Seed of the split. Defaults to 0.
        classes: The classes in their order. Objects of other classes are dropped. Defaults to the eight classes of the
            dataset.

    Returns:
        One sentence per image that could not be used, and a dict from 'train' and 'val' to the summaries.

    Raises:
        UserError: A folder is missing, the fraction is not in (0, 1), no image is usable, or one of the two files
            would have no images or no objects. Nothing is written.
    """
    if not 0 < val_fraction < 1:
        raise UserError(f'the fraction of images for validation must be between 0 and 1; got {val_fraction}')
    folder = Path(root)
    if not (folder / 'images').is_dir() or not (folder / 'xml').is_dir():
        raise UserError(f'{root} is not a folder of the sonar dataset: expected images/ (.bmp) and xml/ (.xml) in it')
    pictures = [path for path in (folder / 'images').iterdir() if path.suffix.lower() == '.bmp']
    names = sorted({path.stem for path in (*pictures, *(folder / 'xml').glob('*.xml'))})
    images, unusable = read_images(names, pictures, folder / 'xml', _read_objects)
    reasons = ''.join(f'\n  {reason}' for reason in unusable)
    if not images:
        raise UserError(
            f'no image in {root} is usable: expected pairs of images/NAME.bmp and xml/NAME.xml; found '
            f'{len(pictures)} .bmp files{reasons}'
        )

    contents, summaries = {}, {}
    for split, part in zip(('train', 'val'), _split(images, val_fraction, seed)):
        if not part:
            raise UserError(
                f'{split}.json would have no images: {root} has {len(images)} usable images, and a fraction of '
                f'{val_fraction} goes to validation. Choose another fraction or add images.{reasons}'
            )
        summaries[split] = ConversionSummary()
        contents[split] = to_coco(part, classes, summaries[split])
        if not contents[split]['annotations']:
            raise UserError(
                f'{split}.json would have no objects of the classes {", ".join(classes)}. Request classes that '
                f'occur in {root}, or choose another seed or fraction.\n{summaries[split]}'
            )
    for split, content in contents.items():
        write_json(str(Path(out_dir) / f'{split}.json'), content)
    return unusable, summaries


def _split(images: Sequence[Image], val_fraction: float, seed: int) -> tuple[list[Image], list[Image]]:
    """The images for training and the images for validation, both in the given order."""
    generator = random.Random(seed)
    # random() gives the same numbers in every version of Python. The result of shuffle() may change.
    draws = [generator.random() for _ in images]
    order = sorted(range(len(images)), key=draws.__getitem__)
    chosen = {*order[: round(val_fraction * len(images))]}
    return (
        [image for i, image in enumerate(images) if i not in chosen],
        [image for i, image in enumerate(images) if i in chosen],
    )


def _read_objects(path: Path) -> Objects:
    """Read the objects of an annotation file. Reject a file without objects: it belongs to a test image."""
    objects = read_objects(path, _parse)
    if not objects:
        raise UserError(f'{path.name} has no objects')
    return objects


def _parse(content: bytes) -> ElementTree.Element:
    """The root element of an annotation file, which may be malformed."""
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError):  # the last two: an unknown encoding
        # The boxes need only ASCII characters, so the encoding of the rest does not matter.
        text = content.decode('utf-8-sig', errors='replace')
        return ElementTree.fromstring(_NOT_NEEDED.sub('', text))
