#!/usr/bin/env python
"""Convert YOLO text labels to COCO JSON: tools/dataset_converters/yolo2coco.py data/mine"""

import argparse
import sys

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Convert YOLO's text labels, boxes or polygons, to COCO's JSON, and list what was dropped and why. "
        'Writes ROOT/annotations/SPLIT.json. The images stay where they are.'
    )
    parser.add_argument(
        'root', help='folder with images/SPLIT and labels/SPLIT, with SPLIT/images and SPLIT/labels, or without splits'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='CLASS',
        help='the class names, in the order of their numbers from 0 (default: those in data.yaml, dataset.yaml, '
        'classes.txt or obj.names in ROOT)',
    )
    parser.add_argument('--out-dir', help='output folder (default: ROOT/annotations)')
    cli.add_drop_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets.converters.common import report
    from econvnext_mmdet.datasets.converters.yolo import yolo_to_coco

    summaries = yolo_to_coco(args.root, args.out_dir, args.classes, args.strict)
    sys.exit(report(summaries, args.allow_dropped))


if __name__ == '__main__':
    cli.run_tool(main)
