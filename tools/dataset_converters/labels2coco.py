#!/usr/bin/env python
"""Convert instance label images to COCO JSON: tools/dataset_converters/labels2coco.py data/nuclei nucleus"""

import argparse
import sys

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Convert label images, in which each object has its own number, to COCO's JSON with masks, and "
        'list what was dropped and why. Writes ROOT/annotations/SPLIT.json for each .txt file with names of images in '
        'ROOT, or else all.json. The images stay where they are.'
    )
    parser.add_argument('root', help='folder with images/ and labels/; a label image has the name of its image')
    parser.add_argument('name', help='name of the only class')
    parser.add_argument('--images', default='images', help='folder of the images in ROOT (default: images)')
    parser.add_argument('--labels', default='labels', help='folder of the label images in ROOT (default: labels)')
    cli.add_split_options(parser)
    parser.add_argument('--out-dir', help='output folder (default: ROOT/annotations)')
    cli.add_drop_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets.converters.common import report
    from econvnext_mmdet.datasets.converters.labels import labels_to_coco

    summaries = labels_to_coco(
        args.root, args.name, args.out_dir, args.images, args.labels, args.val_fraction, args.seed, args.strict
    )
    sys.exit(report(summaries, args.allow_dropped))


if __name__ == '__main__':
    cli.run_tool(main)
