#!/usr/bin/env python
"""Compare the start of training with MMDetection's own tool: tools/analysis_tools/benchmark_startup.py"""

import argparse
import tempfile
from pathlib import Path

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure the time to the first step and the memory of training on random annotations with the '
        "statistics of COCO's training set, with tools/train.py and with MMDetection's own. Needs 1 GB of disk and "
        'takes some minutes.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--images', type=cli.whole(1, 10**7), default=118_000, help='number of images')
    parser.add_argument('--classes', type=cli.whole(1, 10**5), default=80, help='number of classes')
    parser.add_argument('--objects', type=cli.number(0, 10**4), default=7.3, help='mean number of objects per image')
    parser.add_argument(
        '--workers', type=cli.whole(0, 128), nargs='+', default=[0, 4], help='numbers of workers to measure'
    )
    parser.add_argument('--seed', type=cli.whole(0), default=0, help='seed of the random numbers')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.benchmarks.startup import time_start, write_dataset

    tools = Path(__file__).resolve().parents[1]
    config = tools.parent / 'configs' / 'demo' / 'retinanet_e_convnext_mini_shapes.py'
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(f'{folder}/data', args.images, args.classes, args.objects, args.seed)
        for workers in args.workers:
            started = time_start(
                str(tools), str(config), f'{folder}/data', f'{folder}/work_{workers}', args.classes, workers
            )
            for name, (seconds, memory) in started.items():
                print(
                    f'{workers} workers, {name}: first step after {seconds:.0f} s, at most {memory:.0f} MiB', flush=True
                )


if __name__ == '__main__':
    cli.run_tool(main)
