"""Checkpoints that survive a crash, a full disk and a moved work directory."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..utils.errors import UserError
from ..utils.files import check_no_pipe, drop_link, whole_file
from ..weights.checkpoint import read_checkpoint

STEP = re.compile(r'(?:epoch|iter)_(\d+)\.pth')
BEST = re.compile(r'best_.*\.pth')
POINTER = 'last_checkpoint'


class WholeFiles(LocalBackend):
    """MMEngine's local files, but each is written completely or not at all, and removed when :meth:`flush` says so."""

    def __init__(self) -> None:
        super().__init__()
        self.outdated: list[str] = []

    def put(self, obj: bytes, filepath: str | Path) -> None:
        Path(filepath).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(Path(filepath)) as part:
            part.write_bytes(obj)

    def remove(self, filepath: str | Path) -> None:
        self.outdated.append(str(filepath))

    def flush(self) -> None:
        """Remove the files."""
        while self.outdated:
            Path(self.outdated.pop()).unlink(missing_ok=True)


register_backend('WholeFiles', WholeFiles)


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's CheckpointHook, but there is a whole checkpoint at every moment.

    MMEngine writes each file in place, and removes an older one before that. It also keeps absolute paths, so a copied
    work directory would delete the best checkpoint of the original.
    """

    def before_train(self, runner: Runner) -> None:
        """Find the best checkpoint in the folder of this run."""
        super().before_train(runner)
        if type(self.file_backend) is not LocalBackend or self.file_client_args is not None:  # type: ignore[has-type]
            return
        self.file_backend = WholeFiles()
        self.backend_args = dict(backend=WholeFiles.__name__)
        for key, path in list(runner.message_hub.runtime_info.items()):
            if re.match('best_ckpt|last_ckpt', key) and path:
                runner.message_hub.update_info(key, os.path.join(self.out_dir, os.path.basename(path)))
        if self.save_best is not None and len(self.key_indicators) == 1:
            self.best_ckpt_path = runner.message_hub.runtime_info.get('best_ckpt')
        elif self.save_best is not None:
            for name in self.key_indicators:
                self.best_ckpt_path_dict[name] = runner.message_hub.runtime_info.get(f'best_ckpt_{name}')

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        super()._save_checkpoint_with_step(runner, step, meta)
        if isinstance(self.file_backend, WholeFiles):
            self.file_backend.flush()


def checkpoints_in(folder: str) -> list[str]:
    """The checkpoints of a training run's epochs or iterations in a folder, the last one first."""
    found = [(int(match[1]), name) for name in _names_in(folder) if (match := STEP.fullmatch(name))]
    return [os.path.join(folder, name) for _, name in sorted(found, reverse=True)]


def checkpoint_folder(cfg: Config) -> str:
    """The folder of a training run's checkpoints: its work directory, or one of the same name in the hook's out_dir."""
    out_dir = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('out_dir')
    if out_dir in (None, cfg.work_dir):
        return cfg.work_dir
    return os.path.join(out_dir, os.path.basename(cfg.work_dir.rstrip(os.sep)))


def latest_checkpoint(folder: str, checkpoints: str | None = None) -> str | None:
    """The last checkpoint of a training run that can be read.

    Args:
        folder: The work directory. It may have been moved or copied since the training run.
        checkpoints: The folder of the checkpoints, see :func:`checkpoint_folder`. Defaults to None: the work directory.

    Returns:
        The file that ``last_checkpoint`` names, or the last one before it that is whole. None if there is no
            checkpoint.

    Raises:
        UserError: There are checkpoints, and none can be read.
    """
    checkpoints = checkpoints or folder
    paths = checkpoints_in(checkpoints)
    if POINTER in _names_in(folder):
        pointer = Path(folder, POINTER)
        check_no_pipe(pointer)
        named = os.path.basename(pointer.read_text(errors='surrogateescape').strip('\0 \n'))
        if named:
            # The folder that it names may be that of another run, from which this one was copied.
            path = os.path.join(checkpoints, named)
            paths = [path, *(other for other in paths if other != path)]
    problems = []
    for path in paths:
        try:
            read_checkpoint(path)
        except UserError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            print_log(f'{problem} Training goes on from {path} instead.', logger='current')
        return path
    if problems:
        raise UserError(f'no checkpoint in {checkpoints} can be read, so training cannot go on: {problems[0]}')
    return None


@contextmanager
def own_work_dir(folder: str, resume: bool, lock: bool = True, checkpoints: str | None = None) -> Iterator[None]:
    """Keep a work directory for one training run.

    Args:
        folder: The work directory, which is created.
        resume: Whether the run goes on from a checkpoint. Otherwise the folder must have no checkpoints.
        lock: Keep other runs out. Only one of several processes does. Defaults to True.
        checkpoints: The folder of the checkpoints, see :func:`checkpoint_folder`. Defaults to None: the work directory.

    Raises:
        UserError: Another training run uses the folder, it has the checkpoints of one, or the folder of the
            checkpoints cannot be made.
    """
    checkpoints = checkpoints or folder
    os.makedirs(folder, exist_ok=True)
    pointer = Path(folder, POINTER)
    check_no_pipe(pointer)
    drop_link(pointer)
    mine = FileLock(os.path.join(folder, '.lock'))
    if lock:
        try:
            mine.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f'another training run uses {folder}. Wait for its end, or give another folder with --work-dir.'
            ) from None
    try:
        if '://' not in checkpoints:
            try:
                os.makedirs(checkpoints, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f'cannot write checkpoints into {checkpoints}: {error.strerror}. Set '
                    'default_hooks.checkpoint.out_dir to another folder.'
                ) from error
        there = [*map(os.path.basename, checkpoints_in(checkpoints)), *filter(BEST.match, _names_in(checkpoints))]
        if there and not resume:
            raise UserError(
                f'{checkpoints} has the checkpoints of a training run, such as {there[0]}. Give --resume to go on with '
                'it, give another folder with --work-dir, or remove this one.'
            )
        yield
    finally:
        mine.release()


def _names_in(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []
