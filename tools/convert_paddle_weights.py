#!/usr/bin/env python
"""Convert the authors' Paddle weights: tools/convert_paddle_weights.py SRC.pdparams DST.pth"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a .pdparams file of an E-ConvNeXt classifier or backbone, or of PP-YOLOE or YOLOv10 with '
        'E-ConvNeXt or with its own backbone, to a checkpoint for MMPretrain and MMDetection. Needs no Paddle, and '
        'runs nothing that the file may hold.')
    parser.add_argument('source', help='.pdparams file')
    parser.add_argument('out', help='.pth or .safetensors file to write')
    parser.add_argument('--arch', choices=('mini', 'tiny', 'small', 'S', 'M', 'L'),
                        help='the backbone: mini to small of E-ConvNeXt, S to L of PP-YOLOE\'s own, M and L of '
                        'YOLOv10\'s own (default: what the file fits)')
    parser.add_argument('--widen-factor', type=float, default=1., metavar='FACTOR',
                        help='of a backbone of other widths (default: 1)')
    parser.add_argument('--deepen-factor', type=float, default=1., metavar='FACTOR',
                        help='of a backbone of other depths (default: 1)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported late: --help and wrong options answer at once.
    from econvnext_mmdet.paddle_weights import convert_file
    (state, meta), unused = convert_file(args.source, args.out, args.arch, args.widen_factor, args.deepen_factor)
    print(f'{args.out}: {meta["model"]}, {len(state)} tensors')
    for part in ('neck', 'bbox_head'):
        if part in meta:
            print(f'the {part} of the config: {meta[part]}')
    if unused:
        print(f'not used: {len(unused)} parameters', *unused, sep='\n  ')


if __name__ == '__main__':
    cli.run(main)
