#!/usr/bin/env python
"""Measure the speed of training: tools/analysis_tools/benchmark_training.py configs/retinanet_e_convnext.py"""

import argparse

from econvnext_mmdet.utils import cli

# The training images of ImageNet-1K, and those of COCO's train2017 that have a box.
IMAGES = {'data/imagenet': 1_281_167, 'data/coco': 117_266}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Measure how long the training steps of each config take, with random images in memory, on the '
        'first GPU, or on the CPU if there is no GPU. Prints how long all epochs of the config would take on this '
        'device, not counting the time to read images.'
    )
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file')
    cli.add_shape_option(parser, least=32)
    parser.add_argument(
        '--batch-size', type=cli.whole(1), help='images per step (default: the batch size of the config)'
    )
    parser.add_argument('--steps', type=cli.whole(1), default=10, help='number of steps to measure (default: 10)')
    parser.add_argument(
        '--images',
        type=cli.whole(1),
        help='images per epoch, to compute the hours of all epochs (default: 1281167 for configs of ImageNet-1K, '
        '117266 for configs of COCO; for other configs no hours are printed)',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (needs a GPU)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from mmengine.logging import MMLogger

    from econvnext_mmdet.benchmarks.complexity import default_shape
    from econvnext_mmdet.benchmarks.speed import time_training
    from econvnext_mmdet.utils.config import load_config

    MMLogger.get_instance('benchmark', log_level='ERROR')  # MMEngine would log a line for each parameter
    for path in args.configs:
        cfg = load_config(path)
        shape = tuple(args.shape or default_shape(cfg))
        speed = time_training(cfg, shape, args.batch_size, args.steps, args.amp)
        memory = '' if speed.memory is None else f', {speed.memory:.1f} GiB'
        print(
            f'{path}: {speed.images:.3g} images/s, {speed.batch_size} images per step, {shape[0]} x {shape[1]}, '
            f'{speed.device}{memory}',
            end='',
        )
        dataset = (cfg.get('train_dataloader') or {}).get('dataset')
        root = dataset.get('data_root') if isinstance(dataset, dict) else None
        images = args.images or IMAGES.get((root or '').rstrip('/'))
        epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
        if images and epochs:
            hours = epochs * images / speed.images / 3600
            print(f'; {epochs} epochs of {images:,} images: {hours:,.1f} hours', end='')
        print(flush=True)


if __name__ == '__main__':
    cli.run_tool(main, when_interrupted='nothing was measured')
