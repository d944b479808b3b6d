#!/usr/bin/env python
"""Compare the engines of COCO's evaluation: tools/benchmark_coco_eval.py"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time faster-coco-eval and pycocotools, and their peak memory, on boxes of COCO val\'s shape made '
        'from a seed; takes some minutes.', formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--images', type=int, default=5000, help='number of images')
    parser.add_argument('--classes', type=int, default=80, help='number of classes')
    parser.add_argument('--objects', type=float, default=7.3, help='mean number of objects an image')
    parser.add_argument('--detections', type=int, default=100, help='number of detections an image')
    parser.add_argument('--seed', type=int, default=0, help='seed of the random numbers')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from econvnext_mmdet.evaluation.benchmark import compare_engines, comparison_table
    print(comparison_table(compare_engines(**vars(args))))


if __name__ == '__main__':
    cli.run(main)
