#!/usr/bin/env python
"""Evaluate a COCO results file: tools/eval_coco.py annotations.json results.json"""
import argparse
import sys

from econvnext_mmdet import cli
from econvnext_mmdet.evaluation.coco_eval import ENGINES, GEOMETRY, evaluate_files


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Evaluate detections in COCO\'s results format, from whatever model, against a COCO annotation '
        'file: the twelve numbers of COCO and a table of the classes.')
    parser.add_argument('annotations', help='annotation file (JSON)')
    parser.add_argument('results', help='results file (JSON), as `tools/test.py --out FILE.json` writes it')
    parser.add_argument('--iou-type', nargs='+', choices=tuple(GEOMETRY),
                        help='evaluate boxes, masks or both (default: what the results have)')
    parser.add_argument('--classes', nargs='+', metavar='NAME',
                        help='evaluate these classes of the annotation file only, as for a model that knows no '
                        'others (default: all)')
    parser.add_argument('--engine', choices=ENGINES, default=ENGINES[0],
                        help='who computes; the numbers are the same (default: %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='write the numbers, unrounded, to a JSON file')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from econvnext_mmdet.evaluation.tables import class_table, stats_table
    from econvnext_mmdet.files import check_writable, write_json
    if args.json:
        check_writable(args.json)
    results = evaluate_files(args.annotations, args.results, args.iou_type, args.engine, args.classes)
    found, total = next(iter(results.values())).images
    if found < total:  # few are a sign of another split's results
        print(f'note: {found} of the {total} images of the annotation file have detections', file=sys.stderr)
    print(stats_table({iou_type: result.stats for iou_type, result in results.items()}))
    for iou_type, result in results.items():
        print(f'\n{iou_type} by class\n{class_table(result.classes)}')
    if args.json:
        write_json(args.json, {iou_type: dict(result.stats, classes=result.classes)
                               for iou_type, result in results.items()})


if __name__ == '__main__':
    cli.run(main)
