#!/usr/bin/env python
"""Look at a config's data before training: tools/check_dataset.py configs/mine.py

Exit status: 0, or 1 where training or evaluation would fail or be wrong.
"""
import argparse
import sys
from pathlib import Path

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Count and check the data that a config trains and evaluates on, and draw a few training samples '
        'as the pipeline delivers them. Exit status 1 where training or evaluation would fail or be wrong.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--annotations-only', action='store_true', help='read no image and draw none')
    parser.add_argument('--picture', metavar='FILE',
                        help='where to draw the samples (default: work_dirs/ and the config\'s name, samples.jpg)')
    parser.add_argument('--samples', type=int, default=9, metavar='N', help='samples to draw (default: %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='write what was found to a JSON file')
    cli.add_config_options(parser)
    args = parser.parse_args()
    if args.samples < 1:
        parser.error(f'--samples expects a number from 1, got {args.samples}')
    if args.picture and Path(args.picture).suffix.lower() not in ('.jpg', '.jpeg', '.png'):
        parser.error(f'--picture expects a .jpg or .png, got {args.picture}')
    return args


def main() -> None:
    args = parse_args()
    # Imported late: --help and wrong options answer at once.
    from econvnext_mmdet.datasets.inspection import as_data, draw_samples, has_errors, inspect_config
    from econvnext_mmdet.engine.run import errors_of_the_user, load_config
    from econvnext_mmdet.files import check_writable, write_json
    if args.json:
        check_writable(args.json)
    cfg = load_config(args.config, args.cfg_options)
    inspections = inspect_config(cfg, read_images=not args.annotations_only)
    print(*inspections, sep='\n\n', end='\n\n')
    if args.json:
        write_json(args.json, as_data(inspections))
    training = [inspection for inspection in inspections if inspection.split == 'train']
    if not args.annotations_only and training and not has_errors(training):
        picture = args.picture or str(Path(cfg.work_dir) / 'samples.jpg')
        with errors_of_the_user():
            draw_samples(cfg, picture, args.samples)
        print(f'samples as the training pipeline delivers them: {picture}')
    elif not args.annotations_only:
        print('no samples drawn: the config has no training data, or they have errors')
    if has_errors(inspections):
        print('training or evaluation would fail or be wrong: see the errors above')
        sys.exit(1)
    print('no errors')


if __name__ == '__main__':
    cli.run(main)
