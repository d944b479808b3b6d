#!/usr/bin/env python
"""Compare exported files with their checkpoint: tools/analysis_tools/compare_exports.py CONFIG CHECKPOINT FILE ..."""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Compare a checkpoint with the files that tools/export.py made of it: accuracy on the test set of '
        'the config, size, and time for one image. Prints a Markdown table.',
        epilog='The models take turns on each image. The table has the median time, and in brackets the fastest and '
        'the slowest image.',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('files', nargs='+', metavar='FILE', help='exported .onnx file, or folder of OpenVINO')
    parser.add_argument('--images', type=cli.whole(1), default=20, help='timed images (default: %(default)s)')
    parser.add_argument(
        '--threads', type=cli.whole(1, cli.MOST_THREADS), help='CPU threads (default: each runtime decides)'
    )
    cli.add_config_options(parser)
    cli.add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.benchmarks.exported_files import compare_files, file_table
    from econvnext_mmdet.utils.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    print(file_table(compare_files(cfg, args.checkpoint, args.files, args.images, args.threads)))


if __name__ == '__main__':
    cli.run_tool(main)
