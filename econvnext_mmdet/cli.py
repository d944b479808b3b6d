"""What the command-line tools share."""
import argparse
import multiprocessing
import os
import sys
from typing import Callable

from mmengine.config import DictAction

from .errors import UserError


class KeyValueAction(DictAction):
    """mmengine's action for KEY=VALUE, which says what it expected where there is no '='."""

    def __call__(self, parser, namespace, values, option_string=None):
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string} expects KEY=VALUE, got {value!r}')
        super().__call__(parser, namespace, values, option_string)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that changes settings of the config."""
    parser.add_argument('--cfg-options', nargs='+', action=KeyValueAction, metavar='KEY=VALUE',
                        help='change settings of the config, as train_dataloader.batch_size=4; lists as key="[a,b]"')


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing have in common, as MMDetection's tools have them."""
    parser.add_argument('--work-dir',
                        help='folder for logs and checkpoints (default: work_dirs/ and the config\'s name)')
    add_config_options(parser)
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none',
                        help='who started this process for distributed work (default: none, a single process)')
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def run(main: Callable[[], None], when_interrupted: str = 'nothing was written') -> None:
    """Run a tool: exit status 1 and one line for what the user can mend, 130 on Ctrl-C.

    Args:
        main (Callable): The tool.
        when_interrupted (str): What to know after Ctrl-C. Defaults to 'nothing was written'.
    """
    try:
        main()
    except (UserError, OSError, KeyboardInterrupt) as error:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError) and error.filename is None:
            raise  # nothing that the user named
        # Workers of a data loader that still wait for work must neither hold the process back nor outlive it; and
        # they complain where the loader goes first, which it does with the error.
        for worker in multiprocessing.active_children():
            worker.kill()
            worker.join()
        status = _report(error, when_interrupted)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _report(error: BaseException, when_interrupted: str) -> int:
    """Say what ended a tool; the exit status."""
    if isinstance(error, KeyboardInterrupt):
        print(f'interrupted: {when_interrupted}', file=sys.stderr)
        return 130
    if isinstance(error, BrokenPipeError):  # the reader of the output has had enough, as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif isinstance(error, OSError):
        print(f'error: {error.filename}: {error.strerror}', file=sys.stderr)
    else:
        print(f'error: {error}', file=sys.stderr)
    return 1
