#!/usr/bin/env python
"""Make the synthetic shapes dataset: tools/make_shapes.py data/shapes"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Make a COCO-format dataset of textured shapes with boxes and instance masks, from a seed.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('out', help='the folder to make; gets train/, val/ and annotations/{train,val}.json')
    parser.add_argument('--train', type=int, default=800, help='number of training images')
    parser.add_argument('--val', type=int, default=100, help='number of validation images')
    parser.add_argument('--size', type=int, nargs=2, default=(288, 288), metavar=('HEIGHT', 'WIDTH'),
                        help='size of an image in pixels')
    parser.add_argument('--seed', type=int, default=0, help='seed of the random numbers')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from econvnext_mmdet.datasets.shapes import make_shapes
    for split, counts in make_shapes(args.out, args.train, args.val, tuple(args.size), args.seed).items():
        print(f'{args.out}/annotations/{split}.json: {counts["images"]} images, {counts["annotations"]} objects')


if __name__ == '__main__':
    cli.run(main)
