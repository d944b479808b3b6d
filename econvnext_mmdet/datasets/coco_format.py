"""What COCO's annotation files must hold; needs no MMDetection."""
import math
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np

from ..errors import UserError

# What the fields hold that mmdet computes with or looks up.
NAME = ((str, ), 'a text')
ID = ((int, str), 'a whole number')
WHOLE = ((int, ), 'a whole number')
SIZE = ((int, float), 'a number')
TYPES = dict(id=ID, image_id=ID, category_id=ID, file_name=NAME, name=NAME, height=SIZE, width=SIZE)


def check_annotations(coco: dict, evaluated: bool = False, iscrowd: bool = False) -> None:
    """Check that a COCO dict has what MMDetection reads of it.

    Args:
        coco (dict): The content of an annotation file.
        evaluated (bool): COCO's evaluation will read it, which takes whole numbers alone for ids; training takes
            texts too. Defaults to False.
        iscrowd (bool): Every annotation must have ``iscrowd``, as pycocotools expects. Defaults to False.

    Raises:
        UserError: The first entry that lacks something, refers to nothing or is no number, and which.
    """
    for _, problem in find_malformed(coco, evaluated, iscrowd):
        raise UserError(f'malformed: {problem}')


def find_malformed(coco: dict, evaluated: bool = False, iscrowd: bool = False) -> Iterator[Tuple[str, str]]:
    """What :func:`check_annotations` checks, all of it.

    Yields:
        tuple[str, str]: A kind of problem, and where it is and what was expected.
    """
    fields = dict(images=('id', 'file_name', 'height', 'width'), categories=('id', 'name'))
    # A test set without labels has no annotations at all.
    fields['annotations'] = ('id', 'image_id', 'category_id', 'bbox', 'area', *['iscrowd'] * iscrowd)
    types = {**TYPES, **dict(id=WHOLE, image_id=WHOLE, category_id=WHOLE)} if evaluated else TYPES
    ids, whole = {}, {}
    for part, keys in fields.items():
        entries = coco.get(part, [] if part == 'annotations' else None) if isinstance(coco, dict) else None
        if not isinstance(entries, list):
            yield 'a part that is missing', f'expected a list "{part}", as COCO\'s format has it'
            return
        ids[part], whole[part] = set(), []
        for i, entry in enumerate(entries):
            lacking = [key for key in keys if not isinstance(entry, dict) or entry.get(key) is None]
            wrong = [] if lacking else [key for key, (kinds, _) in types.items()
                                        if key in entry and not isinstance(entry[key], kinds)]
            if lacking:
                yield 'entries that lack a field', f'{part}[{i}] lacks {", ".join(lacking)}'
            elif wrong:
                yield 'fields of a wrong kind', (f'{part}[{i}] has the {wrong[0]} {entry[wrong[0]]!r}; expected '
                                                 f'{types[wrong[0]][1]}')
            elif entry['id'] in ids[part]:
                yield 'ids that occur twice', f'{part}[{i}] has the id {entry["id"]!r} of an earlier entry'
            else:
                ids[part].add(entry['id'])
                whole[part].append(entry)
    names = [category['name'] for category in whole['categories']]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield 'categories of the same name', f'{names.count(name)} categories are named {name!r}'
    for entry in whole['annotations']:
        for key, part in (('image_id', 'images'), ('category_id', 'categories')):
            if entry[key] not in ids[part]:
                yield f'annotations without their {part}', (f'annotation {entry["id"]} has the {key} {entry[key]!r}, '
                                                            f'which no entry of "{part}" has')
        box = entry['bbox']
        if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
            yield 'boxes that are none', (f'annotation {entry["id"]} has the bbox {box!r}; expected four numbers x, y, '
                                          'width, height')
        if not _is_number(entry['area']):
            yield 'areas that are none', f'annotation {entry["id"]} has the area {entry["area"]!r}; expected a number'
        if entry.get('iscrowd', 0) not in (0, 1):
            yield 'iscrowd that is neither 0 nor 1', f'annotation {entry["id"]} has the iscrowd {entry["iscrowd"]!r}'


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def find_bad_masks(coco: dict) -> Dict[str, List]:
    """The ids of annotations whose masks cannot be loaded or evaluated, by what is wrong with them.

    A mask is a list of polygons, or an RLE whose runs cover its image: with others the readers of RLE in C loop
    without end or read beyond it.

    Args:
        coco (dict): The content of an annotation file that is not malformed.
    """
    sizes = {image['id']: (image['height'], image['width']) for image in coco['images']}
    bad = {'masks that are missing': [], 'masks that are neither polygons nor RLE': [],
           'masks of another size than their image': []}
    missing, neither, other = bad.values()
    compressed = []
    for annotation in coco.get('annotations', ()):
        mask = annotation.get('segmentation')
        if not mask:
            missing.append(annotation['id'])
        elif isinstance(mask, list):
            if not _are_polygons(mask):
                neither.append(annotation['id'])
        elif not is_rle(mask):
            neither.append(annotation['id'])
        elif tuple(mask['size']) != sizes[annotation['image_id']]:
            other.append(annotation['id'])
        elif isinstance(mask['counts'], list):
            if sum(mask['counts']) != math.prod(mask['size']):
                neither.append(annotation['id'])
        else:
            compressed.append((annotation['id'], mask))
    neither += [compressed[i][0] for i in find_broken_rle([mask for _, mask in compressed])]
    return bad


def _are_polygons(mask: list) -> bool:
    """Pairs of numbers, and three pairs or more in the first, of which pycocotools tells polygons from a box."""
    try:
        return len(mask[0]) >= 6 and all(len(polygon) % 2 == 0 and math.isfinite(sum(polygon)) for polygon in mask)
    except TypeError:  # no list, or a list of something else than numbers
        return False


def is_rle(mask) -> bool:
    """Whether something is an RLE, compressed or not, by its form: what its runs are is another question."""
    if not isinstance(mask, dict) or not isinstance(mask.get('size'), list) or len(mask['size']) != 2 \
            or not all(isinstance(side, int) for side in mask['size']):
        return False
    counts = mask.get('counts')
    return isinstance(counts, str) or isinstance(counts, list) and all(
        isinstance(run, int) and run >= 0 for run in counts)


def find_broken_rle(masks: Sequence[dict], at_once: int = 20_000) -> List[int]:
    """Indices of the compressed RLEs whose runs do not cover their image exactly.

    The code of pycocotools' ``rleFrString``: numbers of 5 bits a character, the lowest first, with a bit for more
    to come and the sign in the last; from the fourth run on the difference to the run before the last one. Here for
    all masks together, as there may be hundreds of thousands.

    Args:
        masks (Sequence[dict]): With ``size`` (height, width) and ``counts``, a text.
        at_once (int): How many are read together, which bounds the memory. Defaults to 20000.
    """
    broken = []
    for start in range(0, len(masks), at_once):
        texts = [mask['counts'].encode('ascii', 'replace') for mask in masks[start:start + at_once]]
        # A last character that announces more would run into the next text.
        readable = [i for i, text in enumerate(texts)
                    if text and 48 <= min(text) and max(text) < 112 and not (text[-1] - 48) & 32]
        broken += [start + i for i in sorted({*range(len(texts))} - {*readable})]
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
        # Three chains of differences in each mask: the first run, the others at odd and at even places.
        mask = np.repeat(np.arange(len(texts)), list(map(len, texts)))[ends]
        place = np.arange(len(mask)) - np.searchsorted(mask, mask)
        chain = 3 * mask + np.where(place == 0, 0, 1 + place % 2)
        order = np.argsort(chain, kind='stable')
        total, chain = np.cumsum(values[order]), chain[order]
        first = np.searchsorted(chain, chain)
        runs = total - np.where(first, total[first - 1], 0)
        areas = np.array([math.prod(masks[start + i]['size']) for i in readable])
        wrong = np.bincount(chain // 3, runs) != areas
        wrong[chain[runs < 0] // 3] = True
        wrong[mask[lengths > 7]] = True  # more than 32 bits
        broken += [start + readable[i] for i in np.flatnonzero(wrong)]
    return sorted(broken)
