#!/usr/bin/env python
"""Publish a checkpoint: tools/model_converters/publish_model.py work_dirs/NAME/epoch_12.pth NAME.pth"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write the weights of a checkpoint, without the optimiser's state, to a file with a hash in its "
        'name. The tool checks that the model gives the same outputs with the published weights.'
    )
    parser.add_argument('source', help='checkpoint file of a training run')
    parser.add_argument('out', help='.pth or .safetensors file to write; the hash is added before the file extension')
    parser.add_argument(
        '--config', help='config of the model (default: the one in the checkpoint, which needs --trust-checkpoint)'
    )
    parser.add_argument('--half', action='store_true', help='round the weights to half precision')
    cli.add_trust_option(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, because --help does not need them.
    from econvnext_mmdet.utils.config import load_config
    from econvnext_mmdet.weights.publish import publish

    print(publish(args.source, args.out, load_config(args.config) if args.config else None, args.half))


if __name__ == '__main__':
    cli.run_tool(main)
