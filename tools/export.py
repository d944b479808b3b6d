#!/usr/bin/env python
"""Export a checkpoint for deployment: tools/export.py CONFIG CHECKPOINT --format onnx"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Export a detector or a classifier as one file that needs no PyTorch. The file takes images '
        '(N, 3, H, W), uint8, BGR, of any batch, height and width from 32 pixels. Normalisation, padding, decoding and '
        'NMS are inside. Before the file is written, its outputs are compared with those of PyTorch.',
        epilog='tools/test.py and tools/infer.py take the file in place of a checkpoint.',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--format',
        default='onnx',
        metavar='FORMAT',
        help="onnx: one .onnx file, for ONNX Runtime; openvino: a folder with OpenVINO's .xml and .bin (default: "
        '%(default)s)',
    )
    parser.add_argument(
        '--out',
        metavar='PATH',
        help='the .onnx file, or the new folder for OpenVINO (default: beside the checkpoint and named after it, for '
        'example epoch_9.onnx or epoch_9_openvino_model)',
    )
    parser.add_argument(
        '--half', action='store_true', help='store the weights in half precision; computation stays in float32'
    )
    parser.add_argument(
        '--int8',
        action='store_true',
        help='quantise the network to int8, which makes the file smaller and faster; decoding and NMS stay in float32',
    )
    parser.add_argument(
        '--calibration',
        metavar='FOLDER',
        help='images for --int8, at least 10 and better 300; they show which values occur in the network (default: the '
        'training set of the config)',
    )
    parser.add_argument(
        '--opset', type=int, default=20, help="version of ONNX's operators, from 18 to 23 (default: %(default)s)"
    )
    parser.add_argument(
        '--backbone', action='store_true', help='export only the backbone, which returns its feature maps'
    )
    parser.add_argument(
        '--check',
        metavar='CONFIG',
        help='also compare the AP or the top-1 accuracy on the test set of this config; a file that loses more than '
        '0.0005 (0.002 with --half, 0.005 with --int8) is removed',
    )
    cli.add_config_options(parser)
    cli.add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.deploy.export import ExportOptions
    from econvnext_mmdet.engine.exporting import export_and_check
    from econvnext_mmdet.utils.config import load_config

    options = ExportOptions(
        format=args.format,
        out=args.out,
        half=args.half,
        int8=args.int8,
        calibration=args.calibration,
        opset=args.opset,
        backbone=args.backbone,
    )
    data = load_config(args.check) if args.check else None
    exported = export_and_check(load_config(args.config, args.cfg_options), args.checkpoint, options, data, say=print)
    rounded = exported.metadata.weights != 'float32'
    print(f'agreement with PyTorch{", before the weights were rounded" if rounded else ""}: {exported.agreement}')
    if rounded and data is None:
        print(f'the accuracy with {exported.metadata.weights} weights was not compared: use --check for it')
    print(f'{exported.path}: {exported.size / 2**20:.1f} MiB, task {exported.metadata.task}')


if __name__ == '__main__':
    cli.run_tool(main)
