#!/usr/bin/env python
"""Kill a training run at random moments: tools/analysis_tools/kill_and_resume.py CONFIG --work-dir FOLDER"""

import argparse
import sys
from pathlib import Path

from econvnext_mmdet.utils import cli

TRAIN = str(Path(__file__).resolve().parents[1] / 'train.py')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a config without a disturbance, and again with SIGKILL at random moments and --resume after '
        'each. The exit status is 1 if the two do not end with the same bits.',
        epilog='All other options go to tools/train.py, for example --cfg-options.',
    )
    parser.add_argument('config', help='config file, best one that trains in a minute')
    parser.add_argument('--work-dir', required=True, metavar='FOLDER', help='new folder for both training runs')
    parser.add_argument(
        '--kills', type=cli.whole(0), default=50, metavar='N', help='number of kills (default: %(default)s)'
    )
    parser.add_argument('--seed', type=cli.whole(0), default=0, help='seed of the random moments (default: 0)')
    args, args.others = parser.parse_known_args()
    return args


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.benchmarks.kill_and_resume import kill_and_resume

    found = kill_and_resume([TRAIN, args.config, *args.others], args.work_dir, args.kills, args.seed)
    print(f'{found.kills} kills, {found.parts} half-written files left beside the checkpoints')
    if found.differing:
        print(f'differs from the undisturbed run: {", ".join(found.differing)}', file=sys.stderr)
        sys.exit(1)
    print('the resumed run ends with the same bits as the undisturbed one')


if __name__ == '__main__':
    cli.run_tool(main)
