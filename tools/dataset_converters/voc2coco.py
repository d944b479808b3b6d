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
    cli.add_split_options(parser)
    cli.add_class_options(parser)
    parser.add_argument('--out-dir', help='output folder (default: ROOT/annotations)')
    cli.add_drop_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets.converters.common import report
    from econvnext_mmdet.datasets.converters.voc import voc_to_coco

    summaries = voc_to_coco(
        args.root, args.out_dir, args.splits, args.classes, args.order, args.val_fraction, args.seed, args.strict
    )
    sys.exit(report(summaries, args.allow_dropped))


if __name__ == '__main__':
    cli.run_tool(main)
