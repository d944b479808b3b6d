#!/usr/bin/env python
"""Count parameters and multiply-adds: tools/get_flops.py configs/retinanet_e_convnext.py"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print parameters and multiply-adds (MACs) of a config\'s detector and of its backbone alone: '
        'convolutions, linear layers and matrix products, as papers count.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--shape', type=int, nargs=2, default=(800, 1280), metavar=('HEIGHT', 'WIDTH'),
                        help='size of the image in pixels (default: 800 1280)')
    args = parser.parse_args()
    if min(args.shape) < 1:
        parser.error(f'--shape expects two numbers from 1, got {args.shape[0]} {args.shape[1]}')
    return args


def main() -> None:
    args = parse_args()
    from econvnext_mmdet.complexity import count_detector
    from econvnext_mmdet.engine.run import load_config
    cfg = load_config(args.config)
    print(f'{args.config} at {args.shape[0]} x {args.shape[1]}')
    for name, complexity in zip(('detector', 'backbone'), count_detector(cfg, tuple(args.shape))):
        print(f'{name:>8}: {complexity.params:,} parameters, {complexity.macs / 1e9:.3f} GMACs')


if __name__ == '__main__':
    cli.run(main)
