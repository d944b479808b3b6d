"""Convert the forward-looking sonar dataset (from a contest of the Peng Cheng Laboratory) to COCO's JSON.

Its annotations are XML files like those of Pascal VOC.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from ...utils.errors import UserError
from .common import Annotated, ConversionSummary, find_pictures, random_splits, read_picture, read_splits
from .voc import VocFile, parse_xml, place_boxes, read_voc

CLASSES = ('ball', 'circle cage', 'cube', 'cylinder', 'human body', 'metal bucket', 'square cage', 'tyre')

# Everything that the boxes do not need: comments, tags of other elements, the XML declaration, and every '&'.
_COMMENT = re.compile('<!--.*?-->', re.DOTALL)
_NOT_NEEDED = re.compile(r'<(?!/?(?:annotation|object|name|difficult|bndbox|[xy]min|[xy]max)(?:\s[^<>]*)?>)[^<>]*>|&')


def sonar_to_coco(
    root: str,
    out_dir: str | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
    strict: bool = False,
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
        out_dir: The folder for the two files. It is created. Defaults to None: ``annotations`` in ``root``.
        val_fraction: The fraction of the usable images that goes to ``val.json``, in (0, 1). Defaults to 0.2.
        seed: Seed of the split. Defaults to 0.
        classes: The classes in their order. Objects of other classes are dropped. Defaults to the eight classes of the
            dataset.
        strict: Write nothing if anything is dropped. Defaults to False.

    Returns:
        One sentence per image that could not be used, and the summary of each file that was written.

    Raises:
        UserError: A folder is missing, the fraction is not in (0, 1), no image is usable, or one of the two files
            would have no images or no objects. Nothing is written.
    """
    folder = Path(root)
    if not (folder / 'images').is_dir() or not (folder / 'xml').is_dir():
        raise UserError(f'{root} is not a folder of the sonar dataset: expected images/ (.bmp) and xml/ (.xml) in it')
    pictures = {
        name: bitmaps
        for name, paths in find_pictures(folder / 'images').items()
        if (bitmaps := [path for path in paths if path.suffix.lower() == '.bmp'])
    }
    images: dict[str, tuple[Annotated, ConversionSummary]] = {}
    unusable = []
    for name in sorted({*pictures, *(path.stem for path in (folder / 'xml').glob('*.xml'))}):
        own = ConversionSummary()
        try:
            picture, file = read_picture(pictures, name, folder / 'images'), _read(folder / 'xml' / f'{name}.xml')
            items = place_boxes(file, picture, own)
        except UserError as error:
            unusable.append(f'{name}: {error}')
            continue
        own.dropped += [f'{name}: {reason}' for reason in file.unusable]
        images[name] = (picture, items), own
    reasons = [f'  {reason}' for reason in unusable]
    if not images:
        raise UserError(
            f'no image in {root} is usable: expected pairs of images/NAME.bmp and xml/NAME.xml; found '
            f'{len(pictures)} .bmp files',
            *reasons,
        )
    splits = random_splits(list(images), val_fraction, seed)
    for split, members in splits.items():
        if not members:
            raise UserError(
                f'{split}.json would have no images: {root} has {len(images)} usable images, and a fraction of '
                f'{val_fraction} goes to validation. Choose another fraction or add images.',
                *reasons,
            )
    if strict and unusable:
        raise UserError('--strict allows nothing to be dropped; nothing was written', *reasons)

    def read(name: str, summary: ConversionSummary) -> Annotated:
        annotated, own = images[name]
        summary.dropped += own.dropped
        for what, where in own.notes.items():
            summary.notes[what] += where
        return annotated

    return unusable, read_splits(splits, read, classes, Path(out_dir or folder / 'annotations'), strict)


def _read(path: Path) -> VocFile:
    """Read an annotation file. Reject a file without objects: it belongs to a test image."""
    file = read_voc(path, _parse)
    if not file.items and not file.unusable:
        raise UserError(f'{path.name} has no objects')
    return file


def _parse(content: bytes) -> ElementTree.Element:
    """The root element of an annotation file, which may be malformed."""
    try:
        return parse_xml(content)
    except (ElementTree.ParseError, ValueError, LookupError):  # the last two: an unknown encoding
        # The boxes need only ASCII characters, so the encoding of the rest does not matter.
        text = content.decode('utf-8-sig', errors='replace')
        # After the last end of a comment, each '<!--' would be searched for an end in vain.
        before, end, after = text.rpartition('-->')
        return ElementTree.fromstring(_NOT_NEEDED.sub('', _COMMENT.sub('', before + end) + after))
