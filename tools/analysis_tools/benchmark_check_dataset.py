#!/usr/bin/env python
"""Measure the time of `tools/check_dataset.py --annotations-only`: tools/analysis_tools/benchmark_check_dataset.py"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure how long the check of annotations with masks takes, on random data with the statistics of '
        "COCO's training set. Needs 1 GB of disk and takes some minutes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--images', type=cli.whole(1, 10**7), default=118_000, help='number of images')
    parser.add_argument('--classes', type=cli.whole(1, 10**5), default=80, help='number of classes')
    parser.add_argument('--objects', type=cli.number(0, 10**4), default=7.3, help='mean number of objects per image')
    parser.add_argument('--seed', type=cli.whole(0), default=0, help='seed of the random numbers')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.benchmarks.data_inspection import time_inspection

    seconds, size, (inspection,) = time_inspection(**vars(args))
    boxes = sum(sum(sizes.values()) for sizes in inspection.classes.values())
    print(f'{inspection.images} images, {boxes} boxes with polygons, {size:.0f} MB: inspected in {seconds:.1f} s')


if __name__ == '__main__':
    cli.run_tool(main)
