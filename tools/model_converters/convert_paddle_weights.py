#!/usr/bin/env python
"""Convert Paddle weights: tools/model_converters/convert_paddle_weights.py SRC.pdparams DST.pth"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert a .pdparams file to a checkpoint for MMPretrain and MMDetection. The file can contain an '
        'E-ConvNeXt classifier or backbone, or PP-YOLOE or YOLOv10 with E-ConvNeXt or with its own backbone. The tool '
        'does not need Paddle, and it does not run any code in the file.'
    )
    parser.add_argument('source', help='.pdparams file')
    parser.add_argument('out', help='.pth or .safetensors file to write')
    parser.add_argument(
        '--arch',
        choices=('mini', 'tiny', 'small', 'S', 'M', 'L'),
        help="size (arch) of the backbone: mini, tiny or small for E-ConvNeXt, S, M or L for PP-YOLOE's own backbone, "
        "M or L for YOLOv10's own (default: detected from the file)",
    )
    parser.add_argument(
        '--widen-factor',
        type=float,
        default=1.0,
        metavar='FACTOR',
        help='widen_factor of the backbone, if its numbers of channels are not the published ones (default: 1)',
    )
    parser.add_argument(
        '--deepen-factor',
        type=float,
        default=1.0,
        metavar='FACTOR',
        help='deepen_factor of the backbone, if its numbers of blocks are not the published ones (default: 1)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='CLASS',
        help='the class names, in the order of the labels, to store in the checkpoint of a detector or a classifier '
        '(default: none; the tools then take those of the config)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.weights.paddle import convert_file

    checkpoint, unused = convert_file(
        args.source, args.out, args.arch, args.widen_factor, args.deepen_factor, args.classes
    )
    state, meta = checkpoint
    print(f'{args.out}: {meta["model"]}, {len(state)} tensors')
    for part in ('neck', 'bbox_head'):
        if part in meta:
            print(f'the config needs this {part}: {meta[part]}')
    if checkpoint.kind == 'detector' and not checkpoint.classes:
        print(
            'the file has no class names: tools/infer.py takes metainfo.classes of the datasets in the config, which '
            'must be in the order of the labels. Or give the names with --classes'
        )
    if unused:
        print(f'not used: {len(unused)} parameters', *unused, sep='\n  ')


if __name__ == '__main__':
    cli.run_tool(main)
