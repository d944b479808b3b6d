#!/usr/bin/env python
"""Train a detector or a classifier: tools/train.py configs/retinanet_e_convnext.py"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a config\'s detector or classifier and evaluate it.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (needs a GPU)')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate to the batch of all GPUs together')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from a checkpoint, with the other options as before; without a value from the last '
                        'one in the work directory')
    parser.add_argument('--pretrained', metavar='CHECKPOINT',
                        help='start the backbone from a classifier\'s, a detector\'s or a backbone\'s checkpoint; '
                        'one that does not fit is an error')
    cli.add_runner_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported late: --help and wrong options answer at once.
    from econvnext_mmdet.engine.run import load_config, train
    cfg = load_config(args.config, args.cfg_options, args.work_dir, args.launcher)
    train(cfg, amp=args.amp, auto_scale_lr=args.auto_scale_lr, resume=args.resume, pretrained=args.pretrained)


if __name__ == '__main__':
    cli.run(main, when_interrupted='--resume goes on from the last checkpoint, if one was written')
