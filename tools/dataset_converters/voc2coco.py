#!/usr/bin/env python
"""Convert Pascal VOC XML to COCO JSON: tools/dataset_converters/voc2coco.py data/BCCD"""

import argparse
import sys

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Convert Pascal VOC annotations to COCO's JSON, and list what was dropped and why. Writes "
        'ROOT/annotations/SPLIT.json. The images stay where they are.'
    )
    parser.add_argument(
        'root',
        help='VOC folder, with Annotations/, JPEGImages/ and, optionally, ImageSets/Main/; or a folder with XML files '
        'beside the images, and one subfolder per split',
    )
    parser.add_argument(
        '--splits',
        nargs='+',
        metavar='SPLIT',
        help='names of split files in ImageSets/Main, or of subfolders; each becomes one JSON file (default: those of '
        'train, val, trainval and test that exist in ImageSets/Main, or all subfolders; if there are none, all.json)',
    )
    parser.add_argument(
        '--val-fraction',
        type=float,
        metavar='FRACTION',
        help='split all images at random into train.json and val.json, with this fraction for val.json',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the random split (default: 0)')
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='CLASS',
        help='the class names, in the order of their ids (default: all classes of the XML files)',
    )
    parser.add_argument(
        '--order',
        choices=('alphabet', 'appearance'),
        default='alphabet',
        help='order of all classes: alphabet (default), or appearance, that of their first objects',
    )
    parser.add_argument('--out-dir', help='output folder (default: ROOT/annotations)')
    cli.add_drop_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets.converters.voc import voc_to_coco

    summaries = voc_to_coco(
        args.root, args.out_dir, args.splits, args.classes, args.order, args.val_fraction, args.seed, args.strict
    )
    for path, summary in summaries.items():
        print(f'{path}: {summary}')
    if any(summary.dropped for summary in summaries.values()) and not args.allow_dropped:
        sys.exit(1)


if __name__ == '__main__':
    cli.run_tool(main)
