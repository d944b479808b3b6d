#!/usr/bin/env python
"""Explain results in a page: tools/analyze.py annotations.json results.json --images folder --log scalars.json"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write a folder with an HTML page, its plots and the numbers as JSON: precision and recall, AP by '
        'class, size and IoU, confusion of classes, kinds of errors, best and worst images. Several results files '
        'are compared, by their masks too where all have masks.')
    parser.add_argument('annotations', help='COCO annotation file (JSON)')
    parser.add_argument('results', nargs='+',
                        help='COCO results files (JSON), as `tools/test.py --out FILE.json` writes them')
    parser.add_argument('--images', metavar='FOLDER', help='folder of the images, for pictures of the best and worst')
    parser.add_argument('--log', nargs='+', default=(), metavar='FILE',
                        help='training logs, WORK_DIR/*/vis_data/scalars.json, for curves of loss and AP; where there '
                        'are as many as results, give them in the results\' order, and they get their names')
    parser.add_argument('--classes', nargs='+', metavar='NAME',
                        help='evaluate these classes of the annotation file only (default: all)')
    parser.add_argument('--score-thr', type=float, default=0.3, metavar='SCORE',
                        help='lowest score for the confusion of classes and for the pictures (default: 0.3)')
    parser.add_argument('--out', default='report', metavar='FOLDER', help='the folder to make (default: report)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported late: --help and wrong options answer at once.
    from econvnext_mmdet.evaluation.report import write_report
    print(write_report(args.annotations, args.results, args.out, images=args.images, logs=args.log,
                       score_thr=args.score_thr, classes=args.classes))


if __name__ == '__main__':
    cli.run(main)
