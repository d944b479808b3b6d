#!/usr/bin/env python
"""Split the sonar dataset and convert it to COCO JSON: tools/dataset_converters/sonar2coco.py data/sonar"""

import argparse
import sys

from econvnext_mmdet.utils import cli
from econvnext_mmdet.utils.errors import printable


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Split the labelled images of the sonar dataset at random, convert their XML to COCO's JSON, and "
        'list what was dropped and why. Writes ROOT/annotations/train.json and val.json. The images stay in '
        'ROOT/images.'
    )
    parser.add_argument('root', help='folder of the dataset, with images/ (.bmp) and xml/ (.xml)')
    parser.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        metavar='FRACTION',
        help='fraction of the usable images for validation (default: 0.2)',
    )
    parser.add_argument('--seed', type=cli.whole(0), default=0, help='seed of the split (default: 0)')
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='CLASS',
        help='the class names, in the order of their ids, for example cube "human body" (default: the eight classes of '
        'the dataset)',
    )
    parser.add_argument('--out-dir', help='output folder (default: ROOT/annotations)')
    cli.add_drop_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets.converters.common import report
    from econvnext_mmdet.datasets.converters.sonar import CLASSES, sonar_to_coco

    unusable, summaries = sonar_to_coco(
        args.root, args.out_dir, args.val_fraction, args.seed, args.classes or CLASSES, args.strict
    )
    status = report(summaries, args.allow_dropped)
    lines = [f'{len(unusable)} images could not be used' + ':' * bool(unusable), *map(printable, unusable)]
    print('\n  '.join(lines))
    sys.exit(status or int(bool(unusable) and not args.allow_dropped))


if __name__ == '__main__':
    cli.run_tool(main)
