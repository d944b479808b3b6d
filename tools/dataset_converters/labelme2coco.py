#!/usr/bin/env python
"""Convert LabelMe JSON files to COCO JSON: tools/dataset_converters/labelme2coco.py data/mine"""

import argparse
import sys

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Convert LabelMe's JSON files to COCO's JSON with masks, and list what was dropped and why. Writes "
        'ROOT/annotations/SPLIT.json. The images stay where they are.'
    )
    parser.add_argument('root', help='folder with a JSON file beside each image, and one subfolder per split')
    cli.add_split_options(parser)
    cli.add_class_options(parser)
    parser.add_argument('--out-dir', help='output folder (default: ROOT/annotations)')
    cli.add_drop_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets.converters.common import report
    from econvnext_mmdet.datasets.converters.labelme import labelme_to_coco

    summaries = labelme_to_coco(
        args.root, args.out_dir, args.classes, args.order, args.val_fraction, args.seed, args.strict
    )
    sys.exit(report(summaries, args.allow_dropped))


if __name__ == '__main__':
    cli.run_tool(main)
