#!/usr/bin/env python
"""Publish a checkpoint: tools/model_converters/publish_model.py work_dirs/NAME/epoch_12.pth NAME.pth"""

import argparse

from econvnext_mmdet.utils import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write the weights of a checkpoint without the optimiser's state, with a hash in the file's name, "
        'and check that the model gives the same outputs with them.'
    )
    parser.add_argument('source', help='checkpoint file of a training')
    parser.add_argument('out', help='.pth or .safetensors file to write; the hash is added before the ending')
    parser.add_argument('--config', help='config of the model (default: the one in the checkpoint)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # These imports are slow. --help and wrong options answer without them.
    from econvnext_mmdet.utils.config import load_config
    from econvnext_mmdet.weights.publish import publish

    print(publish(args.source, args.out, load_config(args.config) if args.config else None))


if __name__ == '__main__':
    cli.run_tool(main)
