#!/usr/bin/env python
"""Compare the two engines of COCO's evaluation: tools/analysis_tools/benchmark_coco_eval.py"""

import argparse

from econvnext_mmdet.evaluation.coco_eval import GEOMETRY
from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Compare the time and the peak memory of faster-coco-eval and pycocotools on random boxes or masks '
        "with the statistics of COCO's validation set. Takes some minutes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--iou-type', choices=tuple(GEOMETRY), default='bbox', help='evaluate boxes (bbox) or masks (segm)'
    )
    parser.add_argument('--images', type=cli.whole(1, 10**7), default=5000, help='number of images')
    parser.add_argument('--classes', type=cli.whole(1, 10**5), default=80, help='number of classes')
    parser.add_argument('--objects', type=cli.number(0, 10**4), default=7.3, help='mean number of objects per image')
    parser.add_argument('--detections', type=cli.whole(1, 10**5), default=100, help='number of detections per image')
    parser.add_argument('--seed', type=cli.whole(0), default=0, help='seed of the random numbers')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.benchmarks.coco_engines import compare_engines, comparison_table

    print(comparison_table(compare_engines(**vars(args))))


if __name__ == '__main__':
    cli.run_tool(main)
