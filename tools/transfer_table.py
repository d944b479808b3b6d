#!/usr/bin/env python
"""Put trainings side by side: tools/transfer_table.py work_dirs/finetune/*"""
import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

from econvnext_mmdet import cli

INDEX = Path(__file__).resolve().parents[1] / 'model-index.yml'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print a Markdown table of trained detectors: a row for each config and checkpoint to start from, '
        'with mean and standard deviation over the seeds, from the evaluations after the last epoch. Beside them stand '
        'the paper\'s numbers, with a row too for each of its detectors that has no training here, and parameters, '
        'GFLOPs and latency, measured here, on the first GPU or else the CPU.')
    parser.add_argument('work_dirs', nargs='*', metavar='WORK_DIR',
                        help='work directory of a training; without any, the paper\'s rows alone')
    parser.add_argument('--json', metavar='FILE', help='write the rows, with the values of each seed, too')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with redirect_stdout(sys.stderr):  # stdout is the table's: MMDetection prints there when it is imported
        from econvnext_mmdet.errors import UserError
        from econvnext_mmdet.evaluation.runs import compare_runs, runs_table
        from econvnext_mmdet.files import check_writable, write_json
        if args.json:
            check_writable(args.json)
        rows, left_out = compare_runs(args.work_dirs, str(INDEX))
    if rows:
        print(runs_table(rows))
        if args.json:
            write_json(args.json, rows)
    if left_out:
        raise UserError('\nerror: '.join(left_out))


if __name__ == '__main__':
    cli.run(main)
