#!/usr/bin/env python
"""Check the data of a config before training: tools/check_dataset.py configs/mine.py

Exit status: 0, or 1 if training or evaluation would fail or give wrong results.
"""

import argparse
import sys
from pathlib import Path

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Count and check the data that a config trains and evaluates on, and draw some training samples '
        'after augmentation. The exit status is 1 if training or evaluation would fail or give wrong results.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('--annotations-only', action='store_true', help='do not open any image')
    parser.add_argument(
        '--picture',
        metavar='FILE',
        help='file for the picture of the samples, .jpg or .png (default: samples.jpg in the work directory)',
    )
    parser.add_argument(
        '--samples',
        type=cli.whole(1, 1000),
        default=9,
        metavar='N',
        help='number of samples to draw (default: %(default)s)',
    )
    parser.add_argument('--json', metavar='FILE', help='write the findings to a .json file')
    cli.add_config_options(parser)
    args = parser.parse_args()
    if args.picture and Path(args.picture).suffix.lower() not in ('.jpg', '.jpeg', '.png'):
        parser.error(f'--picture expects a .jpg or .png file, got {args.picture}')
    if args.json and Path(args.json).suffix.lower() != '.json':
        parser.error(f'--json expects a .json file, got {args.json}')
    return args


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.datasets.inspection import as_data, draw_samples, has_errors, inspect_config, is_among_images
    from econvnext_mmdet.engine.config_checks import check_settings
    from econvnext_mmdet.utils.config import explain_user_errors, files_in, load_config
    from econvnext_mmdet.utils.files import check_writable, write_json

    cfg = load_config(args.config, args.cfg_options)
    picture = args.picture or str(Path(cfg.work_dir) / 'samples.jpg')
    for file in filter(None, (args.json, args.picture)):
        check_writable(file, *files_in(cfg), *([file] if is_among_images(cfg, file) else ()))
    inspections = inspect_config(cfg, read_images=not args.annotations_only)
    print(*inspections, sep='\n\n', end='\n\n')
    if args.json:
        write_json(args.json, as_data(inspections))
    check_settings(cfg, [split for split in ('train', 'val', 'test') if cfg.get(f'{split}_dataloader')])
    training = [inspection for inspection in inspections if inspection.split == 'train']
    if not args.annotations_only and training and not has_errors(training):
        with explain_user_errors():
            draw_samples(cfg, picture, args.samples)
        print(f'samples from the training pipeline: {picture}')
    elif not args.annotations_only:
        print('no samples drawn: the config has no training data, or its training data has errors')
    if has_errors(inspections):
        print('training or evaluation would fail or give wrong results: see the errors above')
        sys.exit(1)
    print('no errors')


if __name__ == '__main__':
    cli.run_tool(main)
