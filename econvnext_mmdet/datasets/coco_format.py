"""What COCO's annotation files must hold; needs no MMDetection."""
import math
from typing import Iterator, Tuple

from ..errors import UserError

# What the fields hold that mmdet computes with or looks up.
NAME = (str, 'a text')
ID = ((int, str), 'a number')
SIZE = ((int, float), 'a number')
TYPES = dict(id=ID, image_id=ID, category_id=ID, file_name=NAME, name=NAME, height=SIZE, width=SIZE)


def check_annotations(coco: dict, evaluated: bool = False) -> None:
    """Check that a COCO dict has what MMDetection reads of it.

    Args:
        coco (dict): The content of an annotation file.
        evaluated (bool): COCO's evaluation will read it, which needs ``iscrowd`` and training does not. Defaults
            to False.

    Raises:
        UserError: The first entry that lacks something, refers to nothing or is no number, and which.
    """
    for _, problem in find_malformed(coco, evaluated):
        raise UserError(f'malformed: {problem}')


def find_malformed(coco: dict, evaluated: bool = False) -> Iterator[Tuple[str, str]]:
    """What :func:`check_annotations` checks, all of it.

    Yields:
        tuple[str, str]: A kind of problem, and where it is and what was expected.
    """
    fields = dict(images=('id', 'file_name', 'height', 'width'), categories=('id', 'name'))
    # A test set without labels has no annotations at all.
    fields['annotations'] = ('id', 'image_id', 'category_id', 'bbox', 'area', *['iscrowd'] * evaluated)
    ids, whole = {}, {}
    for part, keys in fields.items():
        entries = coco.get(part, [] if part == 'annotations' else None) if isinstance(coco, dict) else None
        if not isinstance(entries, list):
            yield 'a part that is missing', f'expected a list "{part}", as COCO\'s format has it'
            return
        ids[part], whole[part] = set(), []
        for i, entry in enumerate(entries):
            lacking = [key for key in keys if not isinstance(entry, dict) or entry.get(key) is None]
            wrong = [] if lacking else [key for key, (kinds, _) in TYPES.items()
                                        if key in entry and not isinstance(entry[key], kinds)]
            if lacking:
                yield 'entries that lack a field', f'{part}[{i}] lacks {", ".join(lacking)}'
            elif wrong:
                yield 'fields of a wrong kind', (f'{part}[{i}] has the {wrong[0]} {entry[wrong[0]]!r}; expected '
                                                 f'{TYPES[wrong[0]][1]}')
            elif entry['id'] in ids[part]:
                yield 'ids that occur twice', f'{part}[{i}] has the id {entry["id"]!r} of an earlier entry'
            else:
                ids[part].add(entry['id'])
                whole[part].append(entry)
    for entry in whole['annotations']:
        for key, part in (('image_id', 'images'), ('category_id', 'categories')):
            if entry[key] not in ids[part]:
                yield f'annotations without their {part}', (f'annotation {entry["id"]} has the {key} {entry[key]!r}, '
                                                            f'which "{part}" does not')
        box = entry['bbox']
        if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
            yield 'boxes that are none', (f'annotation {entry["id"]} has the bbox {box!r}; expected four numbers x, y, '
                                          'width, height')
        if not _is_number(entry['area']):
            yield 'areas that are none', f'annotation {entry["id"]} has the area {entry["area"]!r}; expected a number'


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
