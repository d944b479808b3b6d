#!/usr/bin/env python
"""Evaluate a detector: tools/test.py configs/retinanet_e_convnext.py work_dirs/retinanet_e_convnext/epoch_12.pth"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a detector\'s checkpoint on its config\'s test set.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE', help='write the detections: FILE.pkl as MMDetection does, FILE.json '
                        'in COCO\'s results format')
    parser.add_argument('--show', action='store_true', help='show each image in a window')
    parser.add_argument('--show-dir', metavar='FOLDER',
                        help='write pictures of the ground truth and the detections, side by side')
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
