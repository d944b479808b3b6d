#!/usr/bin/env python
"""Compare the speed of E-ConvNeXt and its peers: tools/analysis_tools/benchmark.py --out work_dirs/benchmark"""

import argparse
import sys
from contextlib import redirect_stdout

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time E-ConvNeXt and other networks with random weights on random images, in turn, on the first '
        'GPU, or on the CPU if there is no GPU. Prints a Markdown table.'
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=['classifiers'],
        metavar='NAME',
        help='networks, or classifiers or detectors for all of a kind (default: classifiers); a wrong name lists them',
    )
    parser.add_argument(
        '--runtimes',
        nargs='+',
        metavar='NAME',
        help='eager, channels_last, compiled, onnxruntime, openvino, onnxruntime-int8, openvino-int8 or train '
        '(default: eager, and on a CPU also onnxruntime and openvino; with --scaling: eager)',
    )
    cli.add_shape_option(
        parser,
        least=32,
        default='the size for which the accuracy was published, often 224 224; for a detector without a published '
        'accuracy, that of its family',
    )
    parser.add_argument('--batch-size', type=cli.whole(1), help='images per call (default: 1)')
    parser.add_argument(
        '--threads',
        type=cli.whole(1, cli.MOST_THREADS),
        help='CPU threads of every runtime (default: what PyTorch uses)',
    )
    parser.add_argument('--rounds', type=cli.whole(1), default=10, help='timed calls of each network (default: 10)')
    parser.add_argument(
        '--memory', action='store_true', help='also measure the peak memory of the runtime eager (needs Linux or a GPU)'
    )
    parser.add_argument(
        '--scaling',
        action='store_true',
        help='time sizes from 224 to 1280 pixels and batches from 1 to 8 images instead; not with --shape and '
        '--batch-size',
    )
    parser.add_argument('--out', metavar='FOLDER', help='write benchmark.md, benchmark.json and benchmark.svg')
    args = parser.parse_args()
    if args.scaling and (args.shape or args.batch_size):
        parser.error('--scaling has its own sizes and batches; leave out --shape and --batch-size')
    return args


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    with redirect_stdout(sys.stderr):  # MMDetection reports missing data sets to stdout
        from mmengine.logging import MMLogger

        from econvnext_mmdet.benchmarks.comparison import compare, compare_sizes
        from econvnext_mmdet.benchmarks.comparison_report import (
            report_files,
            save_comparison,
            sizes_to_markdown,
            to_markdown,
        )
        from econvnext_mmdet.benchmarks.peers import choose
        from econvnext_mmdet.benchmarks.runtimes import default_runtimes
        from econvnext_mmdet.utils.files import check_writable

    MMLogger.get_instance('benchmark', log_level='ERROR')  # MMEngine would log a line for each classifier
    entries = choose(args.models)
    if args.out:
        for path in report_files(args.out):
            check_writable(str(path))
    if args.scaling:
        result = compare_sizes(entries, args.runtimes or ['eager'], args.rounds, args.threads, args.memory)
        table = sizes_to_markdown(result)
    else:
        shape = tuple(args.shape) if args.shape else None
        runtimes = args.runtimes or default_runtimes()
        result = compare(entries, runtimes, shape, args.batch_size or 1, args.rounds, args.threads, args.memory)
        table = to_markdown(result)
    print(table)
    if args.out:
        save_comparison(result, args.out, table)


if __name__ == '__main__':
    cli.run_tool(main)
