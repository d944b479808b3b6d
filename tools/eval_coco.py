#!/usr/bin/env python
"""Evaluate a COCO results file: tools/eval_coco.py annotations.json results.json"""

import argparse
import sys

from econvnext_mmdet.evaluation.coco_eval import ENGINES, GEOMETRY, evaluate_files
from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Evaluate the detections of any model, in COCO's results format, against a COCO annotation file. "
        "Prints COCO's twelve metrics and a table with the metrics of each class."
    )
    parser.add_argument('annotations', help='annotation file (JSON)')
    parser.add_argument('results', help='results file (JSON), for example from `tools/test.py --out FILE.json`')
    parser.add_argument(
        '--iou-type',
        nargs='+',
        choices=tuple(GEOMETRY),
        help='evaluate boxes, masks or both (default: what the results contain)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='evaluate only these classes of the annotation file, for a model that was trained on these classes only '
        '(default: all)',
    )
    parser.add_argument(
        '--engine',
        choices=ENGINES,
        default=ENGINES[0],
        help='library that computes the metrics; both give the same values (default: %(default)s)',
    )
    parser.add_argument('--json', metavar='FILE', help='write the unrounded metrics to a JSON file')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from econvnext_mmdet.evaluation.tables import class_table, stats_table
    from econvnext_mmdet.utils.files import check_writable, write_json

    if args.json:
        check_writable(args.json, args.annotations, args.results)
    results = evaluate_files(args.annotations, args.results, args.iou_type, args.engine, args.classes)
    found, total = next(iter(results.values())).images
    if found < total:  # a low number suggests the results of another split
        print(f'note: {found} of the {total} images of the annotation file have detections', file=sys.stderr)
    print(stats_table({iou_type: result.stats for iou_type, result in results.items()}))
    for iou_type, result in results.items():
        print(f'\n{iou_type} by class\n{class_table(result.classes)}')
    if args.json:
        numbers = {iou_type: dict(result.stats, classes=result.classes) for iou_type, result in results.items()}
        write_json(args.json, numbers)


if __name__ == '__main__':
    cli.run_tool(main)
