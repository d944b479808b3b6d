#!/usr/bin/env python
"""Time training without data: tools/benchmark_training.py configs/imagenet/e-convnext-mini_16xb64_in1k.py"""
import argparse

from econvnext_mmdet import cli

# Training images of ImageNet-1K, and of COCO's train2017 those with a box.
IMAGES = {'data/imagenet': 1_281_167, 'data/coco': 117_266}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time training steps of configs on random images in memory, on the first GPU or else the CPU, and '
        'print what the config\'s epochs would take on one such device: reading images is left out.')
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file')
    parser.add_argument('--shape', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'),
                        help='size of an image in pixels (default: 800 1280, of a classifier 224 224, of a detector '
                        'whose test resizes to one shape that shape)')
    parser.add_argument('--batch-size', type=int, help='images a step (default: the config\'s)')
    parser.add_argument('--steps', type=int, default=10, help='number of timed steps (default: 10)')
    parser.add_argument('--images', type=int,
                        help='images of an epoch, for the hours that its epochs take (default: 1281167 for configs of '
                        'ImageNet-1K, 117266 of COCO, none for others)')
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    args = parser.parse_args()
    if args.shape and min(args.shape) < 32:
        parser.error(f'--shape expects two numbers from 32, got {args.shape[0]} {args.shape[1]}')
    for name in ('batch_size', 'steps', 'images'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} expects a number from 1, got {getattr(args, name)}')
    return args


def main() -> None:
    args = parse_args()
    from mmengine.logging import MMLogger

    from econvnext_mmdet.complexity import default_shape
    from econvnext_mmdet.engine.benchmark import time_training
    from econvnext_mmdet.engine.run import load_config
    MMLogger.get_instance('benchmark', log_level='ERROR')  # a line for each parameter's settings is too much here
    for path in args.configs:
        cfg = load_config(path)
        shape = tuple(args.shape or default_shape(cfg))
        speed = time_training(cfg, shape, args.batch_size, args.steps, args.amp)
        print(f'{path}: {speed.images:.3g} images/s, {speed.batch_size} a step, {shape[0]} x {shape[1]}, {speed.device}'
              + ('' if speed.memory is None else f', {speed.memory:.1f} GiB'), end='')
        images = args.images or IMAGES.get(cfg.train_dataloader.dataset.get('data_root', '').rstrip('/'))
        epochs = cfg.train_cfg.get('max_epochs')
        if images and epochs:
            print(f'; {epochs} epochs of {images:,} images: {epochs * images / speed.images / 3600:,.1f} hours', end='')
        print(flush=True)


if __name__ == '__main__':
    cli.run(main, when_interrupted='no time was taken')
