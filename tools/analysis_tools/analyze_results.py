#!/usr/bin/env python
"""Explain results in an HTML page: tools/analysis_tools/analyze_results.py annotations.json results.json"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write a folder with an HTML page, its plots, and the numbers as JSON: precision and recall, AP by '
        'class, size and IoU, class confusion, kinds of errors, best and worst images. If you give several results '
        'files, the page compares them, and also their masks if all of them have masks.'
    )
    parser.add_argument('annotations', help='COCO annotation file (JSON)')
    parser.add_argument(
        'results', nargs='+', help='COCO results files (JSON), for example from `tools/test.py --out FILE.json`'
    )
    parser.add_argument(
        '--images', metavar='FOLDER', help='folder of the images, for pictures of the best and the worst ones'
    )
    parser.add_argument(
        '--log',
        nargs='+',
        default=(),
        metavar='FILE',
        help='training logs, WORK_DIR/*/vis_data/scalars.json, for curves of loss and AP. If you give one log per '
        'results file, in the same order, the curves get the names of the results files',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='evaluate only these classes of the annotation file (default: all)',
    )
    parser.add_argument(
        '--iou-type',
        nargs='+',
        choices=('bbox', 'segm'),
        help='evaluate boxes (bbox), masks (segm) or both (default: what the results contain)',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='SCORE',
        help='ignore detections below this score in the class confusion and the pictures (default: 0.3)',
    )
    parser.add_argument(
        '--out',
        default='report',
        metavar='FOLDER',
        help='folder to make; it must not exist (default: report)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.reports.results_page import write_report

    page = write_report(
        args.annotations,
        args.results,
        args.out,
        images=args.images,
        logs=args.log,
        score_thr=args.score_thr,
        classes=args.classes,
        iou_types=args.iou_type,
    )
    print(page)


if __name__ == '__main__':
    cli.run_tool(main)
