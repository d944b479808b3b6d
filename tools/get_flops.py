#!/usr/bin/env python
"""Count parameters and multiply-adds: tools/get_flops.py configs/retinanet_e_convnext.py"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print parameters and multiply-adds (MACs) of a config\'s detector or classifier and of its '
        'backbone alone: convolutions, linear layers and matrix products, as papers count.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--shape', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
                        help='size of the image in pixels (default: 800 1280, of a classifier 224 224, of a detector '
                        'whose test resizes to one shape that shape)')
    args = parser.parse_args()
    if args.shape and min(args.shape) < 1:
        parser.error(f'--shape expects two numbers from 1, got {args.shape[0]} {args.shape[1]}')
    return args


def main() -> None:
    args = parse_args()
    from econvnext_mmdet.complexity import count_model, default_shape
    from econvnext_mmdet.datasets.checks import is_classification
    from econvnext_mmdet.engine.run import load_config
    cfg = load_config(args.config)
    kind = 'classifier' if is_classification(cfg) else 'detector'
    shape = tuple(args.shape or default_shape(cfg))
    print(f'{args.config} at {shape[0]} x {shape[1]}')
    for name, complexity in zip((kind, 'backbone'), count_model(cfg, shape)):
        print(f'{name:>{len(kind)}}: {complexity.params:,} parameters, {complexity.macs / 1e9:.3f} GMACs')


if __name__ == '__main__':
    cli.run(main)
