#!/usr/bin/env python
"""Compare training runs in one table: tools/analysis_tools/compare_trainings.py work_dirs/finetune/*"""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from econvnext_mmdet.utils import cli

INDEX = Path(__file__).resolve().parents[2] / 'model-index.yml'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print a Markdown table of trained detectors, with one row per config and starting checkpoint: '
        "mean and standard deviation over the seeds, from the evaluations after the last epoch. The paper's numbers "
        'are in the same table. Detectors of the paper that you have not trained have their own rows. The tool counts '
        'parameters and GFLOPs, and measures the latency on the first GPU, or on the CPU if there is no GPU.'
    )
    parser.add_argument(
        'work_dirs',
        nargs='*',
        metavar='WORK_DIR',
        help="work directory of a training run (default: none; the table then has only the paper's rows)",
    )
    parser.add_argument('--json', metavar='FILE', help='also write the rows, with the values of each seed, as JSON')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them. MMDetection prints to stdout when it is imported, and stdout is
    # for the table.
    with redirect_stdout(sys.stderr):
        from econvnext_mmdet.reports.trainings import compare_trainings, files_of, trainings_table
        from econvnext_mmdet.utils.errors import UserError
        from econvnext_mmdet.utils.files import check_writable, write_json

        if args.json:
            check_writable(args.json, INDEX, *(path for folder in args.work_dirs for path in files_of(folder)))
        rows, left_out = compare_trainings(args.work_dirs, str(INDEX))
    if rows:
        print(trainings_table(rows))
        if args.json:
            write_json(args.json, rows)
    if left_out:
        raise UserError('\nerror: '.join(left_out))


if __name__ == '__main__':
    cli.run_tool(main)
