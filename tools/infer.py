#!/usr/bin/env python
"""Detect objects in images and videos: tools/infer.py CONFIG CHECKPOINT photos 'more/**/*.jpg' film.mp4

Exit status: 0 if everything was done, 1 after an error or if a file was skipped, 130 after Ctrl-C.
"""

import argparse
import sys

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Detect objects in images and videos. Writes into FOLDER (--out): results.json (all detections in '
        "COCO's results format), images.json (the images and categories that the ids in results.json stand for) and "
        'pictures/ (images with drawn detections).',
        epilog='A file that cannot be read is skipped and listed at the end. Exit status: 0 if everything was done, 1 '
        'after an error or if a file was skipped, 130 after Ctrl-C.',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a file that tools/export.py made from it')
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='input',
        help='image, video, folder (all images in it and in its subfolders, but no videos) or quoted glob pattern',
    )
    parser.add_argument(
        '--out',
        default='inference',
        metavar='FOLDER',
        help='output folder; existing files with the same names are replaced (default: %(default)s)',
    )
    parser.add_argument(
        '--annotations',
        metavar='FILE',
        help='COCO annotation file of the input images, with the classes of the detector. The results use its image '
        'and category ids, so that tools/eval_coco.py can evaluate them (default: ids start at 1)',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='SCORE',
        help="draw only detections above this score; results.json always has all of them, which COCO's AP needs "
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='keep only these classes, in the pictures and in the results (default: all)',
    )
    parser.add_argument(
        '--batch-size', type=int, default=1, metavar='N', help='images per batch (default: %(default)s)'
    )
    parser.add_argument('--device', help="PyTorch's name for the device (default: cuda:0, or cpu if there is no GPU)")
    parser.add_argument('--no-pictures', action='store_true', help='do not draw pictures')
    cli.add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.inference.detection import DetectionOptions, detect
    from econvnext_mmdet.utils.config import load_config
    from econvnext_mmdet.utils.errors import printable

    options = DetectionOptions(
        out=args.out,
        annotations=args.annotations,
        score_thr=args.score_thr,
        classes=args.classes,
        batch_size=args.batch_size,
        device=args.device,
        pictures=not args.no_pictures,
    )
    summary = detect(load_config(args.config), args.checkpoint, args.inputs, options)
    done = f'{summary.images} images' + (f' and {summary.frames} frames' if summary.frames else '')
    print(f'{done}, {summary.detections} detections, {summary.above} of them above {args.score_thr:g}')
    drawn = not args.no_pictures and summary.images + summary.frames
    print(f'{args.out}: results.json, images.json' + (', pictures/' if drawn else ''))
    if summary.skipped:
        print(
            f'skipped or incomplete: {len(summary.skipped)}',
            *map(printable, summary.skipped),
            sep='\n  ',
            file=sys.stderr,
        )
        sys.exit(1)


if __name__ == '__main__':
    cli.run_tool(main, when_interrupted='no results were written; the pictures drawn so far remain')
