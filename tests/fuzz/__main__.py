"""Fuzz the readers of files that users bring: python -m tests.fuzz {json,xml,pdparams,rle} --minutes 60

Needs atheris. A reader may raise UserError and nothing else, must not hang, and must not take more than 4 GiB. What was
found lies as tests beside those of the readers.
"""

import argparse
import copy
import json
import pickle
import sys
import tempfile
from pathlib import Path

import atheris

# An instrumented comparison of arrays never frees its result. The reader of RLEs is little else, so it is left out.
with atheris.instrument_imports(
    include=['econvnext_mmdet', 'xml', 'json'],
    exclude=['econvnext_mmdet.evaluation.coco_format'] if 'rle' in sys.argv else [],
):
    from econvnext_mmdet.datasets.converters.voc import read_voc
    from econvnext_mmdet.evaluation.coco_eval import CocoEvaluator
    from econvnext_mmdet.evaluation.coco_format import check_annotations, find_bad_masks, rle_areas
    from econvnext_mmdet.utils.errors import UserError
    from econvnext_mmdet.utils.files import load_json
    from econvnext_mmdet.weights.pdparams import read_pdparams

import numpy as np
from pycocotools import mask as mask_utils

FOLDER = Path(tempfile.mkdtemp(prefix='fuzz'))
SCENE = dict(
    images=[dict(id=1, file_name='a.jpg', height=8, width=6), dict(id=2, file_name='b.jpg', height=9, width=9)],
    categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
    annotations=[
        dict(
            id=1, image_id=1, category_id=2, bbox=[1, 1, 3, 4], area=12, iscrowd=0,
            segmentation=[[1, 1, 4, 1, 4, 5, 1, 5]],
        ),
        dict(
            id=2, image_id=2, category_id=1, bbox=[0, 0, 2, 2], area=4, iscrowd=1,
            segmentation=dict(size=[9, 9], counts=[0, 2, 79]),
        ),
    ],
)  # fmt: skip
RESULTS = [
    dict(image_id=1, category_id=2, bbox=[1, 1, 3, 4], score=0.9),
    dict(image_id=2, category_id=1, bbox=[0, 0, 2, 2], score=0.5),
]
XML = b"""<annotation><size><width>8</width><height>6</height></size><object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>"""


def change(value, data):
    """Put a random value into a random place of a tree of dicts and lists."""
    inside = isinstance(value, (dict, list)) and len(value) and data.ConsumeIntInRange(0, 5)
    if inside:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = keys[data.ConsumeIntInRange(0, len(keys) - 1)]
        if not data.ConsumeIntInRange(0, 9):
            del value[key]
        else:
            value[key] = change(value[key], data)
        return value
    special = [None, True, '', '1', 'cat', -1, 0, 1, 2**31, 2**63, 10**400, 1e308, float('nan'), float('inf'), [], {}]
    special += [[[]], [1, 1, 0, 0], [1e200] * 4, [[1, 2, 3, 4, 5, float('inf')]], dict(size=[9, 9], counts='0'), 0.5]
    choice = data.ConsumeIntInRange(0, len(special) + 2)
    if choice < len(special):
        return copy.deepcopy(special[choice])
    return [data.ConsumeInt(8), data.ConsumeFloat(), data.ConsumeUnicode(8)][choice - len(special)]


def fuzz_json(content):
    data = atheris.FuzzedDataProvider(content)
    path = FOLDER / 'a.json'
    if data.ConsumeBool():
        path.write_bytes(data.ConsumeBytes(4000))
        load_json(str(path), dict)
        return
    coco, results = copy.deepcopy(SCENE), copy.deepcopy(RESULTS)
    for _ in range(data.ConsumeIntInRange(1, 4)):
        coco, results = change(coco, data), change(results, data)
    path.write_text(json.dumps(coco))
    coco = load_json(str(path), dict)
    check_annotations(coco)
    find_bad_masks(coco)
    if not isinstance(results, list):
        return
    evaluator = CocoEvaluator(coco)
    evaluator.evaluate(json.loads(json.dumps(results)), 'bbox')


def fuzz_xml(content):
    path = FOLDER / 'a.xml'
    path.write_bytes(content)
    read_voc(path)


def fuzz_pdparams(content):
    path = FOLDER / 'a.pdparams'
    path.write_bytes(content)
    for name, array in read_pdparams(str(path)).items():
        assert isinstance(name, str) and array.dtype.kind in 'biufc'


def fuzz_rle(content):
    """Where our areas and pycocotools' differ, one is wrong. pycocotools reads only what ours accept."""
    data = atheris.FuzzedDataProvider(content)
    masks = []
    for _ in range(data.ConsumeIntInRange(1, 5)):
        size = [data.ConsumeIntInRange(1, 12), data.ConsumeIntInRange(1, 12)]
        if data.ConsumeBool():
            text = ''.join(map(chr, data.ConsumeBytes(data.ConsumeIntInRange(0, 12))))
        else:
            pixels = np.frombuffer(data.ConsumeBytes(size[0] * size[1]).ljust(size[0] * size[1], b'\0'), np.uint8) & 1
            text = mask_utils.encode(np.asfortranarray(pixels.reshape(size)))['counts'].decode()
        masks.append(dict(size=size, counts=text))
    for mask, area in zip(masks, rle_areas(masks, at_once=2)):
        if area >= 0:
            try:
                theirs = mask_utils.decode(mask).sum()
            except ValueError as error:
                raise AssertionError(f'{mask} has the area {area}, and pycocotools does not read it') from error
            assert theirs == area, mask


TARGETS = {
    name.removeprefix('fuzz_'): function for name, function in list(globals().items()) if name.startswith('fuzz_')
}


def seeds():
    """Files from which the fuzzer starts."""
    arrays = {'a.weight': np.zeros((2, 3), np.float32), 'b': np.arange(3), 'StructuredToParameterName@@': {}}
    return {
        'json': [b'\0' + json.dumps(SCENE).encode(), b'\1\2\3\4\5\6\7'],
        'xml': [XML, b'<?xml version="1.0" encoding="gb2312"?>' + XML, b'\xef\xbb\xbf' + XML],
        'pdparams': [pickle.dumps(arrays, protocol) for protocol in (2, 4)],
        'rle': [bytes(range(64))],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('target', choices=TARGETS)
    parser.add_argument('--minutes', type=float, default=60)
    args = parser.parse_args()

    def one(content):
        try:
            TARGETS[args.target](content)
        except UserError:
            pass

    corpus = FOLDER / 'corpus'
    corpus.mkdir()
    for number, content in enumerate(seeds()[args.target]):
        (corpus / str(number)).write_bytes(content)
    options = [f'-max_total_time={args.minutes * 60:.0f}', '-timeout=20', '-rss_limit_mb=4096', '-max_len=4096']
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
