#!/usr/bin/env python
"""Evaluate a detector or a classifier: tools/test.py configs/retinanet_e_convnext.py CHECKPOINT"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint on the test set of its config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file, or a file that tools/export.py made from it')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help="write the detections of a detector to FILE.json in COCO's results format or to FILE.pkl in MMDetection's "
        "format, or the predictions of a classifier to FILE.pkl in MMPretrain's format",
    )
    parser.add_argument(
        '--show', action='store_true', help='show each image with its detections or its predicted class in a window'
    )
    parser.add_argument(
        '--show-dir',
        metavar='FOLDER',
        help='write each image with its detections or its predicted class to FOLDER; the pictures of a detector show '
        'the ground truth on the left',
    )
    parser.add_argument(
        '--wait-time',
        type=cli.number(0, 86_400),
        default=2,
        help='seconds for which --show shows each image (default: 2)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: use the tta_pipeline of the config, or else each image and its mirror image. A '
        'detector merges the boxes by NMS (boxes only, no masks), a classifier averages the scores',
    )
    cli.add_runner_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.engine.testing import test
    from econvnext_mmdet.utils.config import load_config

    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    test(
        cfg,
        args.checkpoint,
        out=args.out,
        show=args.show,
        show_dir=args.show_dir,
        wait_time=args.wait_time,
        tta=args.tta,
    )


if __name__ == '__main__':
    cli.run_tool(main, when_interrupted='the evaluation is not finished')
