#!/usr/bin/env python
"""Evaluate a detector or a classifier: tools/test.py configs/retinanet_e_convnext.py CHECKPOINT"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint on the test set of its config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help="write the predictions: FILE.pkl in the format of MMDetection and MMPretrain, or FILE.json in COCO's "
        'results format (detectors only)',
    )
    parser.add_argument('--show', action='store_true', help='show each image in a window')
    parser.add_argument(
        '--show-dir',
        metavar='FOLDER',
        help='write pictures of the predictions; those of a detector show the ground truth on the left',
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds to show each image with --show (default: 2)'
    )
    parser.add_argument(
        '--tta', action='store_true', help='test-time augmentation: detect in both flips and merge by NMS'
    )
    cli.add_runner_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # These imports are slow. --help and wrong options answer without them.
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
