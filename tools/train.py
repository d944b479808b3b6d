#!/usr/bin/env python
"""Train a detector or a classifier: tools/train.py configs/retinanet_e_convnext.py"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train the detector or the classifier of a config, and evaluate it.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (needs a GPU)')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate to the total batch size of all GPUs'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue a training run from CHECKPOINT; without CHECKPOINT: from the latest one in the work directory, '
        'or from the beginning if there is none. Give the other options as before',
    )
    parser.add_argument(
        '--pretrained',
        metavar='CHECKPOINT',
        help='initialise the backbone from the checkpoint of a classifier, a detector or a backbone alone; training '
        'stops with an error if the checkpoint does not fit',
    )
    cli.add_runner_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.engine.training import train
    from econvnext_mmdet.utils.config import load_config

    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    train(cfg, amp=args.amp, auto_scale_lr=args.auto_scale_lr, resume=args.resume, pretrained=args.pretrained)


if __name__ == '__main__':
    cli.run_tool(main, when_interrupted='--resume continues from the latest checkpoint, if one was written')
