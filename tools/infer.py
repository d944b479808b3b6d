#!/usr/bin/env python
"""Detect in images and videos: tools/infer.py CONFIG CHECKPOINT photos 'more/**/*.jpg' film.mp4

Exit status: 0 when all is done, 1 after an error or where a file was skipped, 130 after Ctrl-C.
"""
import argparse
import sys

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Detect in images and videos: writes FOLDER/results.json (COCO\'s results format), '
        'FOLDER/images.json (what its image and category ids stand for) and FOLDER/pictures/ (the detections drawn).',
        epilog='A file that cannot be read is skipped and named at the end. Exit status: 0 when all is done, 1 after '
        'an error or where a file was skipped, 130 after Ctrl-C.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('inputs', nargs='+', metavar='input',
                        help='image, video, folder (the images in it and below) or quoted glob pattern')
    parser.add_argument('--out', default='inference', metavar='FOLDER',
                        help='folder to write; files of the same names in it are replaced (default: %(default)s)')
    parser.add_argument('--annotations', metavar='FILE',
                        help='COCO annotation file whose image and category ids the results get, by file name and '
                        'class name, so that they can be evaluated with it (default: both count from 1)')
    parser.add_argument('--score-thr', type=float, default=0.3, metavar='SCORE',
                        help='draw the detections above this score; results.json has all, as COCO\'s AP needs them '
                        '(default: %(default)s)')
    parser.add_argument('--classes', nargs='+', metavar='NAME',
                        help='keep only these classes, drawn and in the results (default: all)')
    parser.add_argument('--batch-size', type=int, default=1, metavar='N',
                        help='images at a time (default: %(default)s)')
    parser.add_argument('--device', help='as PyTorch names it (default: cuda:0 where there is a GPU, else cpu)')
    parser.add_argument('--no-pictures', action='store_true', help='draw nothing')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported late: --help and wrong options answer at once.
    from econvnext_mmdet.engine.run import load_config
    from econvnext_mmdet.inference import infer
    report = infer(load_config(args.config), args.checkpoint, args.inputs, out=args.out, annotations=args.annotations,
                   score_thr=args.score_thr, classes=args.classes, batch_size=args.batch_size, device=args.device,
                   pictures=not args.no_pictures)
    done = f'{report.images} images' + (f' and {report.frames} frames' if report.frames else '')
    print(f'{done}, {report.detections} detections, {report.above} of them above {args.score_thr:g}')
    drawn = not args.no_pictures and report.images + report.frames
    print(f'{args.out}: results.json, images.json' + (', pictures/' if drawn else ''))
    if report.skipped:
        print(f'skipped {len(report.skipped)}:', *report.skipped, sep='\n  ', file=sys.stderr)
        sys.exit(1)


if __name__ == '__main__':
    cli.run(main, when_interrupted='no results were written; pictures drawn so far are left')
