#!/usr/bin/env python
"""Evaluate a detector or a classifier: tools/test.py configs/retinanet_e_convnext.py CHECKPOINT"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Evaluate the checkpoint of a config\'s detector or classifier on its test set.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE', help='write the predictions: FILE.pkl as MMDetection and MMPretrain '
                        'do, FILE.json a detector\'s in COCO\'s results format')
    parser.add_argument('--show', action='store_true', help='show each image in a window')
    parser.add_argument('--show-dir', metavar='FOLDER',
                        help='write pictures of the predictions, a detector\'s beside the ground truth')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that --show shows an image (default: 2)')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    cli.add_runner_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported late: --help and wrong options answer at once.
    from econvnext_mmdet.engine.run import load_config, test
    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    test(cfg, args.checkpoint, out=args.out, show=args.show, show_dir=args.show_dir, wait_time=args.wait_time,
         tta=args.tta)


if __name__ == '__main__':
    cli.run(main, when_interrupted='the evaluation is not done')
