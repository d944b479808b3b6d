#!/usr/bin/env python
"""Convert Pascal VOC XML to COCO JSON: tools/dataset_converters/voc2coco.py data/BCCD"""

import argparse
from pathlib import Path

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Convert Pascal VOC annotations to COCO's JSON, and list what was dropped and why. Writes "
        'ROOT/annotations/SPLIT.json. The images stay in ROOT/JPEGImages.'
    )
    parser.add_argument('root', help='VOC folder, with Annotations/, JPEGImages/ and, optionally, ImageSets/Main/')
    parser.add_argument(
        '--splits',
        nargs='+',
        metavar='SPLIT',
        help='names of split files in ImageSets/Main; each becomes one JSON file (default: those of train, val, '
        'trainval and test that exist; if none exists, all.json with all annotations)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='CLASS',
        help='the class names, in the order of their ids (default: all classes in Annotations, sorted)',
    )
    parser.add_argument('--out-dir', help='output folder (default: ROOT/annotations)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets.converters.voc import voc_to_coco

    root = Path(args.root)
    usual = [
        name for name in ('train', 'val', 'trainval', 'test') if (root / 'ImageSets' / 'Main' / f'{name}.txt').is_file()
    ]
    for split in args.splits or usual or [None]:
        out = Path(args.out_dir or root / 'annotations') / f'{split or "all"}.json'
        summary = voc_to_coco(str(root), str(out), split, args.classes)
        print(f'{out}: {summary}')


if __name__ == '__main__':
    cli.run_tool(main)
