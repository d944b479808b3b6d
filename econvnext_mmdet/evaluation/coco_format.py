"""Checks of the content of COCO's annotation files, without MMDetection."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..utils.errors import UserError, is_readable

# The types of the fields that MMDetection uses as keys or in computations, and their names in messages.
NAME = ((str,), 'a string')
ID = ((int, str), 'a whole number or a string')
SIZE = ((int, float), 'a number')
SIDES = ('height', 'width')
FAR = 1e6  # pixels
EMPTY_MASKS = 'masks without a pixel inside their image'
LONGEST_RUN = 2**32  # of an RLE, in pixels; the engines' numbers have 32 bits
TYPES = dict(id=ID, image_id=ID, category_id=ID, file_name=NAME, name=NAME, height=SIZE, width=SIZE)


def check_annotations(coco: dict, pycocotools: bool = False) -> None:
    """Check that an annotation file contains what MMDetection reads from it.

    Args:
        coco: The content of the file.
        pycocotools: pycocotools will evaluate the file by itself, as in MMDetection's CocoMetric. Then ids must be
            whole numbers of 64 bits, and every annotation must have ``iscrowd``. Training and
            :class:`~.coco_eval.CocoEvaluator` accept other ids. Defaults to False.

    Raises:
        UserError: An entry lacks a field, has a field of the wrong type or refers to an entry that does not exist. The
            message has the first problem.
    """
    for _, problem in find_malformed(coco, pycocotools):
        raise UserError(f'malformed: {problem}')


def find_malformed(coco: dict, pycocotools: bool = False) -> Iterator[tuple[str, str]]:
    """Find all problems for which :func:`check_annotations` would raise an error. The arguments are the same.

    Yields:
        The kind of the problem, and a message that says where it is and what was expected.
    """
    fields: dict[str, tuple[str, ...]] = dict(images=('id', 'file_name', 'height', 'width'), categories=('id', 'name'))
    fields['annotations'] = ('id', 'image_id', 'category_id', 'bbox', 'area', *['iscrowd'] * pycocotools)
    ids: dict[str, set] = {}
    whole: dict[str, list[dict]] = {}
    for part, keys in fields.items():
        # A test set without labels has no annotations at all.
        entries = coco.get(part, [] if part == 'annotations' else None)
        if not isinstance(entries, list):
            yield 'missing lists', f'expected a list "{part}", as in COCO\'s format'
            return
        ids[part], whole[part] = set(), []
        for i, entry in enumerate(entries):
            lacking = [key for key in keys if not isinstance(entry, dict) or entry.get(key) is None]
            wrong = (
                []
                if lacking
                else [
                    key
                    for key, (kinds, _) in TYPES.items()
                    if key in entry and (not isinstance(entry[key], kinds) or isinstance(entry[key], bool))
                ]
            )
            if lacking:
                yield 'entries that lack a field', f'{part}[{i}] lacks {", ".join(lacking)}'
            elif wrong:
                yield (
                    'fields of the wrong type',
                    f'{part}[{i}] has the {wrong[0]} {entry[wrong[0]]!r}; expected {TYPES[wrong[0]][1]}',
                )
            elif part == 'images' and not all(_is_number(entry[key]) and entry[key] >= 1 for key in SIDES):
                yield (
                    'images without a size',
                    f'{part}[{i}] has the height {entry["height"]!r} and the width {entry["width"]!r}; expected '
                    'numbers of at least 1',
                )
            elif pycocotools and not (isinstance(entry['id'], int) and abs(entry['id']) < 2**63):
                yield (
                    "ids that the config's metric cannot evaluate",
                    f'{part}[{i}] has the id {entry["id"]!r}; expected a whole number of 64 bits. The metric '
                    'OfficialCocoMetric accepts any whole number or string: use it in the config',
                )
            elif entry['id'] in ids[part]:
                yield 'ids that occur twice', f'{part}[{i}] has the id {entry["id"]!r} of an earlier entry'
            else:
                ids[part].add(entry['id'])
                whole[part].append(entry)
    names = [category['name'] for category in whole['categories']]
    for name in names:
        if not is_readable(name):
            yield 'categories without a readable name', f'a category is named {name!r}; expected visible characters'
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield 'categories with the same name', f'{names.count(name)} categories are named {name!r}'
    for entry in whole['annotations']:
        for key, part in (('image_id', 'images'), ('category_id', 'categories')):
            if entry[key] not in ids[part]:
                yield (
                    f'annotations without their {part}',
                    f'annotation {entry["id"]} has the {key} {entry[key]!r}, which no entry of "{part}" has',
                )
        box = entry['bbox']
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(_is_number(value) for value in box)
            or min(box[2:]) < 0
        ):
            yield (
                'malformed boxes',
                f'annotation {entry["id"]} has the bbox {box!r}; expected four numbers x, y, width, height, with width '
                'and height of at least 0',
            )
        if not _is_number(entry['area']) or entry['area'] < 0:  # COCO's evaluation ignores a negative one
            yield (
                'malformed areas',
                f'annotation {entry["id"]} has the area {entry["area"]!r}; expected a number of at least 0',
            )
        # MMDetection does not train on boxes with `ignore`, and takes any text for true.
        for key, allowed in (('iscrowd', (0, 1)), ('ignore', (0, 1, None))):
            if entry.get(key, 0) not in allowed:
                yield (
                    f'{key} that is neither 0 nor 1',
                    f'annotation {entry["id"]} has the {key} {entry[key]!r}; expected 0 or 1',
                )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


class MaskFaults(NamedTuple):
    """The ids of annotations with wrong masks.

    Attributes:
        bad: Those whose masks cannot be loaded or evaluated, by the kind of problem.
        empty: Those whose masks have no pixel inside their image. No detection can match them.
    """

    bad: dict[str, list]
    empty: list


def find_bad_masks(coco: dict) -> MaskFaults:
    """Find the annotations whose masks cannot be loaded or evaluated, or have no pixel.

    A mask is a list of polygons, or an RLE whose runs cover its image exactly. With any other RLE, the C code of the
    engines may loop forever or read beyond the mask.

    Args:
        coco: The content of a well-formed annotation file.

    Returns:
        The ids of the annotations.
    """
    sizes = {image['id']: (image['width'], image['height']) for image in coco['images']}
    missing: list = []
    neither: list = []
    other_size: list = []
    empty: list = []
    compressed = []
    for annotation in coco.get('annotations', ()):
        mask = annotation.get('segmentation')
        width, height = sizes[annotation['image_id']]
        if not mask:
            missing.append(annotation['id'])
        elif isinstance(mask, list):
            if not are_polygons(mask):
                neither.append(annotation['id'])
            elif not any(_reaches(part[::2], width) and _reaches(part[1::2], height) for part in mask if part):
                empty.append(annotation['id'])
        elif not is_rle(mask):
            neither.append(annotation['id'])
        elif mask['size'] != [height, width]:
            other_size.append(annotation['id'])
        elif isinstance(mask['counts'], list):
            if sum(mask['counts']) != math.prod(mask['size']):
                neither.append(annotation['id'])
            elif not any(mask['counts'][1::2]):
                empty.append(annotation['id'])
        else:
            compressed.append((annotation['id'], mask))
    areas = rle_areas([mask for _, mask in compressed])
    neither += [compressed[i][0] for i in np.flatnonzero(areas < 0)]
    empty += [compressed[i][0] for i in np.flatnonzero(areas == 0)]
    bad = {
        'annotations without a mask': missing,
        'masks that are neither valid polygons nor a valid RLE': neither,
        'masks of a different size than their image': other_size,
    }
    return MaskFaults(bad, empty)


def _reaches(values: Sequence[float], side: float) -> bool:
    """Whether coordinates cover a part of a side that starts at 0."""
    return max(min(values), 0) < min(max(values), side)


def are_polygons(mask: list) -> bool:
    """Whether a list holds polygons, which are lists of coordinate pairs.

    The first polygon must have at least three pairs, because pycocotools treats a list of four numbers as a box. A
    coordinate beyond :data:`FAR` could crash its C code.
    """
    try:
        return (
            bool(mask)
            and len(mask[0]) >= 6
            and all(
                len(polygon) % 2 == 0
                and bool not in map(type, polygon)
                and max(map(abs, polygon), default=0) < FAR
                and math.isfinite(sum(polygon))
                for polygon in mask
            )
        )
    except TypeError:  # an item is not a list, or holds something other than numbers
        return False


def is_rle(mask: Any) -> bool:
    """Whether something has the form of an RLE, compressed or not. Compressed runs are not decoded."""
    if (
        not isinstance(mask, dict)
        or not isinstance(mask.get('size'), list)
        or len(mask['size']) != 2
        or not all(isinstance(side, int) and side > 0 for side in mask['size'])
    ):
        return False
    counts = mask.get('counts')
    return (
        isinstance(counts, str)
        or isinstance(counts, list)
        and all(type(run) is int and 0 <= run < LONGEST_RUN for run in counts)
    )


def rle_areas(masks: Sequence[dict], at_once: int = 2_000) -> np.ndarray:
    """The areas of compressed RLEs in pixels.

    The encoding is that of pycocotools' ``rleFrString``. Each character holds 5 bits of a number, starting with the
    lowest bits. One more bit says whether another character follows. The last character has the sign. From the fourth
    run on, a number is the difference from the run two places before it. Many masks are decoded together, because there
    may be hundreds of thousands. pycocotools' own ``area`` accepts at most 255 masks, and not a broken one.

    Args:
        masks: The RLEs, with ``size`` (height, width) and ``counts`` (a string).
        at_once: The number of masks to decode together, which limits the memory. Defaults to 2000.

    Returns:
        The areas, shape (n, ). The area of a broken RLE, whose runs do not cover its image exactly, is -1.
    """
    result = np.full(len(masks), -1)
    for start in range(0, len(masks), at_once):
        texts = [mask['counts'].encode(errors='surrogatepass') for mask in masks[start : start + at_once]]
        # If the last character announced another one, the number would continue in the next text.
        readable = [
            i
            for i, text in enumerate(texts)
            if text and 48 <= min(text) and max(text) < 112 and not (text[-1] - 48) & 32
        ]
        if not readable:
            continue
        texts = [texts[i] for i in readable]
        code = np.frombuffer(b''.join(texts), np.uint8).astype(np.int64) - 48
        ends = np.flatnonzero(code & 32 == 0)
        starts = np.append(0, ends[:-1] + 1)
        lengths = ends - starts + 1
        shift = 5 * np.minimum(np.arange(len(code)) - np.repeat(starts, lengths), 11)
        values = np.add.reduceat((code & 31) << shift, starts)
        values -= (code[ends] & 16 != 0) * (1 << 5 * np.minimum(lengths, 11))
        # Each mask has three chains of differences: its first run, its runs at odd places, the rest at even places.
        mask = np.repeat(np.arange(len(texts)), list(map(len, texts)))[ends]
        place = np.arange(len(mask)) - np.searchsorted(mask, mask)
        chain = 3 * mask + np.where(place == 0, 0, 1 + place % 2)
        order = np.argsort(chain, kind='stable')
        total, chain = np.cumsum(values[order]), chain[order]
        first = np.searchsorted(chain, chain)
        runs = total - np.where(first, total[first - 1], 0)
        pixels = np.array([math.prod(masks[start + i]['size']) for i in readable])
        wrong = np.bincount(chain // 3, runs) != pixels
        wrong[chain[runs < 0] // 3] = True
        wrong[mask[lengths > 7]] = True  # more than 32 bits
        inside = chain % 3 == 2  # the runs at odd places
        areas = np.bincount(chain[inside] // 3, runs[inside], len(texts))
        result[start + np.array(readable)] = np.where(wrong, -1, areas)
    return result
