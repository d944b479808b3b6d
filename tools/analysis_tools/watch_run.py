#!/usr/bin/env python
"""Watch the memory and the open files of a run: tools/analysis_tools/watch_run.py work_dirs/watched -- COMMAND"""

import argparse
import sys
from pathlib import Path

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Run a command, and take samples of the memory and the open files of all its processes. Writes '
        'OUT_DIR/samples.csv, OUT_DIR/samples.png and the output of the command, OUT_DIR/output.log.'
    )
    parser.add_argument('out_dir', help='output folder; existing files with the same names are replaced')
    parser.add_argument(
        '--every',
        type=cli.number(0, 86_400),
        default=5,
        metavar='SECONDS',
        help='time between samples (default: 5)',
    )
    parser.add_argument('command', nargs='+', help='the command after --, such as -- python tools/train.py CONFIG')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.benchmarks.watching import Sample, check_samples, watch, write_samples

    check_samples(args.out_dir)
    samples: list[Sample] = []
    try:
        watched = watch(args.command, str(Path(args.out_dir, 'output.log')), args.every, samples=samples)
    finally:
        if samples:  # also after Ctrl-C, since a run may take days
            write_samples(samples, args.out_dir, ' '.join(args.command)[:80])
    print(f'{len(watched.samples)} samples in {watched.samples[-1].seconds / 60:.1f} minutes')
    for name, unit in (('memory', 'MiB'), ('files', 'open files')):
        first, second = watched.level(name)
        highest = max(getattr(sample, name) for sample in watched.samples)
        print(f'{name}: {first:.0f} {unit}, later {second:.0f}; the highest {highest:.0f}')
    print(f'written to {args.out_dir}')
    # As a shell says it, where subprocess has a negative number for a signal.
    sys.exit(watched.status if watched.status >= 0 else 128 - watched.status)


if __name__ == '__main__':
    cli.run_tool(main, when_interrupted='the command was ended; what was seen of it is in OUT_DIR')
