#!/usr/bin/env python
"""Count parameters and multiply-adds: tools/analysis_tools/get_flops.py configs/retinanet_e_convnext.py"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Print the parameters and multiply-adds (MACs) of a config's detector or classifier, and of its "
        'backbone alone. Only convolutions, linear layers and matrix products are counted, as in papers.'
    )
    parser.add_argument('config', help='config file')
    cli.add_shape_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.benchmarks.complexity import count_model, default_shape
    from econvnext_mmdet.utils.config import is_classification, load_config

    cfg = load_config(args.config)
    kind = 'classifier' if is_classification(cfg) else 'detector'
    shape = tuple(args.shape or default_shape(cfg))
    print(f'{args.config} at {shape[0]} x {shape[1]}')
    for name, complexity in zip((kind, 'backbone'), count_model(cfg, shape)):
        params, macs = complexity.params, complexity.macs
        print(f'{name:>{len(kind)}}: {params:,} parameters, {macs:,} multiply-adds ({macs / 1e9:.3f} GMACs)')


if __name__ == '__main__':
    cli.run_tool(main)
