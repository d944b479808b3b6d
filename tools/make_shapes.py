#!/usr/bin/env python
"""Make a synthetic dataset: tools/make_shapes.py data/shapes"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Make a dataset of textured shapes for detection, in COCO's format with boxes and instance masks. "
        'With --classification, make one for classification: each image shows one shape, and each of the 16 classes '
        'has its own folder.'
    )
    parser.add_argument(
        'out',
        help='folder to make, with train/, val/ and, for detection, annotations/{train,val}.json; it must not exist',
    )
    parser.add_argument('--classification', action='store_true', help='make a dataset for classification')
    parser.add_argument('--train', type=int, help='number of training images (default: 800; classification: 3200)')
    parser.add_argument('--val', type=int, help='number of validation images (default: 100; classification: 480)')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help='image size in pixels (default: 288 288; classification: 112 112)',
    )
    parser.add_argument(
        '--diameters',
        type=float,
        nargs=2,
        metavar=('MIN', 'MAX'),
        help='smallest and largest diameter of a shape, as fractions of the short side of the image (default: 0.22 '
        '0.85; classification: 0.5 0.95)',
    )
    parser.add_argument('--seed', type=cli.whole(0), help='seed of the random numbers (default: 0; classification: 1)')
    args = parser.parse_args()
    defaults = (
        dict(train=3200, val=480, size=(112, 112), seed=1)
        if args.classification
        else dict(train=800, val=100, size=(288, 288), seed=0)
    )
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets import shapes

    make = shapes.make_classification if args.classification else shapes.make_shapes
    diameters = args.diameters or (shapes.CLASSIFICATION_DIAMETERS if args.classification else shapes.DIAMETERS)
    counts = make(args.out, args.train, args.val, tuple(args.size), args.seed, tuple(diameters))
    for split, numbers in counts.items():
        where = f'{args.out}/{split}' if args.classification else f'{args.out}/annotations/{split}.json'
        print(f'{where}: ' + ', '.join(f'{number} {what}' for what, number in numbers.items()))


if __name__ == '__main__':
    cli.run_tool(main)
