#!/usr/bin/env python
"""Make a checkpoint ready to give away: tools/publish_model.py work_dirs/NAME/epoch_12.pth NAME.pth"""
import argparse

from econvnext_mmdet import cli


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Write a checkpoint\'s weights without optimiser and duplicates, with a hash in the file\'s name, '
        'and check that the model gives the same outputs with them.')
    parser.add_argument('source', help='checkpoint file, as training writes it')
    parser.add_argument('out', help='file to write, .pth or .safetensors; the hash is put before its ending')
    parser.add_argument('--config', help='config of the model (default: the one that the checkpoint holds)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported late: --help and wrong options answer at once.
    from econvnext_mmdet.engine.run import load_config
    from econvnext_mmdet.publish import publish
    print(publish(args.source, args.out, load_config(args.config) if args.config else None))


if __name__ == '__main__':
    cli.run(main)
