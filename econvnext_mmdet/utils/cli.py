"""Functions that the command-line tools share."""

import argparse
import ast
import io
import math
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from mmengine.config import DictAction

from .errors import UserError, printable

# torch.load reads these environment variables. FORCE_SAFE refuses all that runs code, whatever library calls it. TRUST
# allows it where the caller does not refuse it.
FORCE_SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
TRUST = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'
# The signals with which a cluster ends a job, and a terminal that is closed. Windows has no SIGHUP.
STOPPING = [getattr(signal, name) for name in ('SIGTERM', 'SIGHUP') if hasattr(signal, name)]
DELAY = 0.01  # seconds after a fork until a signal that came during it ends the process
MOST = 2**31 - 1  # the largest whole number that all libraries take
MOST_SIDE = 2**16  # of an image in pixels
MOST_THREADS = 1024  # PyTorch crashes with a hundred thousand
_LATE: list[int] = []  # the signals that came while an error was reported
# What PyTorch says of memory that is full, on a GPU and on a CPU.
FULL = re.compile("out of memory|can't allocate memory")


def is_trusted() -> bool:
    """Whether the user trusts the authors of all checkpoints."""
    return os.environ.get(TRUST) == '1'


@contextmanager
def only_weights() -> Iterator[None]:
    """Let no code in a checkpoint run, whatever library loads it, unless the user trusts all checkpoints."""
    before = os.environ.get(FORCE_SAFE)
    if not is_trusted():
        os.environ[FORCE_SAFE] = '1'
    try:
        yield
    finally:
        os.environ.pop(FORCE_SAFE, None)
        if before is not None:
            os.environ[FORCE_SAFE] = before


class TrustAction(argparse.Action):
    """Lets the checkpoints that this process and its children load run code."""

    def __call__(self, *args: Any) -> None:
        os.environ.pop(FORCE_SAFE, None)
        os.environ[TRUST] = '1'


class KeyValueAction(DictAction):
    """MMEngine's action for KEY=VALUE options, with dicts, and with an error message for a value without '='.

    MMEngine's own values are numbers, words and lists of them. A value with a brace is read as Python writes it, such
    as ``key="[{'type': 'LinearLR', 'end': 500}]"``.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        literals, others = {}, []
        for value in values:
            key, equals, text = value.partition('=')
            if not equals:
                parser.error(f'{option_string} expects KEY=VALUE, got {value!r}')
            if not _has_dict(text):
                others.append(value)
                continue
            try:
                literals[key] = ast.literal_eval(text)
            except (SyntaxError, ValueError, TypeError) as error:
                parser.error(
                    f"{option_string} expects a dict as Python writes it, such as \"{key}={{'type': 'SGD'}}\"; "
                    f'got {text!r} ({error})'
                )
        super().__call__(parser, namespace, others, option_string)
        getattr(namespace, self.dest).update(literals)


def _has_dict(text: str) -> bool:
    """Whether a value is a dict or a list with dicts. A template such as ``model_{}.pth`` is a word."""
    return text.lstrip().startswith(('{', '[', '(')) and '{' in text


def whole(least: int, most: int = MOST) -> Callable[[str], int]:
    """The type of an option that is a whole number.

    Args:
        least: The smallest number.
        most: The largest number. Defaults to 2**31 - 1.
    """
    return _limited(int, least, most, 'a whole number')


def number(least: float, most: float) -> Callable[[str], float]:
    """The type of an option that is a finite number.

    Args:
        least: The smallest number.
        most: The largest number.
    """
    return _limited(float, least, most, 'a number')


def _limited(kind: type, least: float, most: float, expected: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f'expected {expected} from {least} to {most}, got {text!r}')
        return value

    return read


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that changes settings of the config."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=KeyValueAction,
        metavar='KEY=VALUE',
        help='change settings of the config, for example train_dataloader.batch_size=4; write a list as key="[a,b]", '
        'and a dict as key="{\'a\': 1}", which is merged into the one of the config',
    )


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """Add the option for checkpoints that hold more than weights."""
    parser.add_argument(
        '--trust-checkpoint',
        action=TrustAction,
        nargs=0,
        help='load checkpoints that hold more than tensors and numbers; only for files from a source that you trust, '
        'since such a file can run any program',
    )


def add_runner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share. They are those of MMDetection's tools."""
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints (default: work_dir of the config, or work_dirs/CONFIG_NAME)',
    )
    add_config_options(parser)
    add_trust_option(parser)
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='how the processes of a distributed run are started (default: none, a single process)',
    )
    # torch.distributed.launch passes it. The value is not used, because LOCAL_RANK is also set.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_drop_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the converters for what cannot be converted."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument('--strict', action='store_true', help='write nothing if an image or an object is dropped')
    group.add_argument(
        '--allow-dropped',
        action='store_true',
        help='end with the exit status 0 although images or objects were dropped (default: exit status 1; the files '
        'are written)',
    )


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the converters for a random split."""
    parser.add_argument(
        '--val-fraction',
        type=float,
        metavar='FRACTION',
        help='split all images at random into train.json and val.json, with this fraction for val.json',
    )
    parser.add_argument('--seed', type=whole(0), default=0, help='seed of the random split (default: 0)')


def add_class_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the converters for the names and the order of the classes."""
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='CLASS',
        help='the class names, in the order of their ids (default: all classes of the annotation files)',
    )
    parser.add_argument(
        '--order',
        choices=('alphabet', 'appearance'),
        default='alphabet',
        help='order of all classes: alphabet (default), or appearance, that of their first objects',
    )


def add_shape_option(
    parser: argparse.ArgumentParser,
    least: int = 1,
    default: str = '224 224 for a classifier; for a detector, its test size if that is fixed, or else 800 1280',
) -> None:
    """Add the option for the image size at which multiply-adds are counted or a network is timed.

    Args:
        parser: The parser.
        least: The smallest height and width. Defaults to 1.
        default: What the tool takes without the option, for the help. Defaults to the sizes of papers.
    """
    parser.add_argument(
        '--shape',
        type=whole(least, MOST_SIDE),
        nargs=2,
        metavar=('HEIGHT', 'WIDTH'),
        help=f'image size in pixels (default: {default})',
    )


def run_tool(main: Callable[[], None], when_interrupted: str = 'nothing was written') -> None:
    """Run the main function of a tool and report the user's errors without a traceback.

    No checkpoint may run code, unless the user trusts them all.

    The exit status is 1 after an error that the user can fix, 130 after Ctrl-C, and 128 plus the number of the signal
    after another one that ends a job.

    Args:
        main: The main function.
        when_interrupted: What to tell the user after Ctrl-C. Defaults to 'nothing was written'.
    """
    for number in STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores SIGHUP
            signal.signal(number, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    # The names of files and classes may hold characters that a terminal cannot show.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    try:
        _check_arguments()
        with only_weights():
            main()
    except BaseException as raised:
        _LATE.clear()
        _expect_ends()
        for number in (*STOPPING, signal.SIGINT):
            if signal.getsignal(number) is _stop:
                signal.signal(number, _note)
        # A library may turn Ctrl-C into an error of its own, as MMEngine does while it formats a config.
        error = next((error for error in _causes(raised) if isinstance(error, KeyboardInterrupt)), raised)
        if isinstance(error, RuntimeError) and FULL.search(str(error)):
            error = MemoryError(str(error).splitlines()[0])
        if not isinstance(error, (UserError, OSError, MemoryError, KeyboardInterrupt)):
            raise
        if isinstance(error, OSError) and error.errno is None:
            raise  # not from the operating system
        # Idle workers of a data loader must neither block the exit nor outlive this process. If they still
        # run when Python deletes the exception, and with it the loader, they also print errors of their own.
        for worker in multiprocessing.active_children():
            worker.kill()
            worker.join()
        if _LATE:  # the signal went to all processes, and a worker that it ended was noticed first
            error = _interruption(_LATE[0])
        status = _print_error(error, when_interrupted)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    finally:
        _forget_stop()


def _check_arguments() -> None:
    """Check that no argument is empty. A tool could take an empty name for an option that is left out.

    Raises:
        UserError: One is. What follows ``--`` belongs to another program.
    """
    arguments = list(takewhile('--'.__ne__, sys.argv))
    if '' in arguments:
        before = arguments[arguments.index('') - 1]
        raise UserError(
            f'the argument after {before} is empty, maybe because a variable of the shell is not set; give a value, or '
            'leave the option out'
        )


class _Stopped(KeyboardInterrupt):
    """A signal that ends the process, such as SIGTERM."""


class _Fork:
    """Whether this process is forking, and the signal that came meanwhile.

    Python discards an exception that is raised in a callback of a fork, such as that of the module logging.
    """

    running = False
    number: int | None = None


def _stop(number: int, _: Any) -> None:
    if _Fork.running:
        _Fork.number = number
        return
    _expect_ends()
    raise _interruption(number)


def _interruption(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else _Stopped(number)


def _expect_ends() -> None:
    """Let workers end without an error, which PyTorch's handler would raise wherever the process is."""
    if hasattr(signal, 'SIGCHLD'):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _note(number: int, _: Any) -> None:
    _LATE.append(number)


def _before_fork() -> None:
    _Fork.running = True


def _after_fork() -> None:
    _Fork.running = False
    if _Fork.number is not None:  # this function is such a callback, so the signal must wait until it has ended
        number, _Fork.number = _Fork.number, None
        signal.signal(signal.SIGALRM, lambda *_: _stop(number, None))
        signal.setitimer(signal.ITIMER_REAL, DELAY)


def _forget_stop() -> None:
    for number in (*STOPPING, signal.SIGINT):
        if signal.getsignal(number) in (_stop, _note):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _in_child() -> None:
    """A pool of processes ends its workers with SIGTERM. As an exception, it could be lost, and the pool would wait."""
    _Fork.running, _Fork.number = False, None
    _forget_stop()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, the one during whose handling it was raised, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _print_error(error: BaseException, when_interrupted: str) -> int:
    """Print why a tool ended, and return its exit status."""
    if isinstance(error, KeyboardInterrupt):
        number = signal.Signals(error.args[0] if isinstance(error, _Stopped) else signal.SIGINT)
        reason = f' by {number.name}' if isinstance(error, _Stopped) else ''
        print(f'interrupted{reason}: {when_interrupted}', file=sys.stderr)
        return 128 + number
    if isinstance(error, BrokenPipeError):  # the reader closed the pipe, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif isinstance(error, OSError):
        place = f'{printable(str(error.filename))}: ' if error.filename else ''
        print(f'error: {place}{error.strerror}', file=sys.stderr)
    elif isinstance(error, MemoryError):
        print(f'error: there is too little memory. {error}'.rstrip(), file=sys.stderr)
    else:
        print(f'error: {error}', file=sys.stderr)
    return 1
