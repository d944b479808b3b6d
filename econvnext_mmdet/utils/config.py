"""Reading a config, and explaining the errors that it causes."""

import inspect
import logging
import os
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import build_from_cfg
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from .errors import UserError, did_you_mean
from .files import use_plain_yaml
from .signatures import parameters_of

RUNS = (Runner.train.__code__, Runner.val.__code__, Runner.test.__code__)


def load_config(
    path: str, cfg_options: dict | None = None, work_dir: str | None = None, launcher: str = 'none'
) -> Config:
    """Read a config and apply the options of the command line.

    Args:
        path: The config file.
        cfg_options: New settings by dotted name, such as ``{'model.backbone.arch': 'mini'}``. Defaults to None.
        work_dir: The work directory. Defaults to None: the one in the config, or else ``work_dirs/`` and the name of
            the config file.
        launcher: MMEngine's launcher: 'none', 'pytorch', 'slurm' or 'mpi'. Defaults to 'none'.

    Raises:
        UserError: The file is missing or is not a config, or an option does not fit the config.
    """
    if not Path(path).is_file():
        raise UserError(f'no config file {path}')
    use_plain_yaml()
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is a program: anything may go wrong in it
        raise UserError(f'cannot read the config {path}: {type(error).__name__}: {error}') from error
    # MMEngine accepts any new name at the top level, so a misspelt one would change nothing.
    known = {*cfg, *inspect.signature(Runner).parameters, 'tta_model', 'tta_pipeline'}
    for name in {key.partition('.')[0] for key in cfg_options or {}} - known:
        for similar in get_close_matches(name, known, n=1, cutoff=0.8):
            raise UserError(f"--cfg-options: {path} has no setting '{name}'; did you mean '{similar}'?")
    try:
        cfg.merge_from_dict(cfg_options or {})
    except (KeyError, TypeError, IndexError, AssertionError) as error:
        raise UserError(f'--cfg-options does not fit {path}: {error}') from error
    if any(key.startswith('custom_imports') for key in cfg_options or {}):
        try:
            import_modules_from_strings(**cfg.custom_imports)  # MMEngine imports only those in the file
        except Exception as error:  # whatever a module raises
            raise UserError(f'--cfg-options: custom_imports failed: {type(error).__name__}: {error}') from error
    cfg.launcher = launcher
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(path).stem)
    return cfg


def files_in(cfg: Config) -> list[str]:
    """The files that a config names, such as annotations and checkpoints, and its own: none may be overwritten."""
    return [path for path in (cfg.filename or '', *_texts_in(cfg.to_dict(), '')) if os.path.isfile(path)]


def _texts_in(part: Any, root: str) -> Iterator[str]:
    """All texts in a part of a config, also as paths below the ``data_root`` of their dataset."""
    if isinstance(part, dict):
        root = str(part.get('data_root') or root)
    for value in part.values() if isinstance(part, dict) else part:
        if isinstance(value, str):
            yield from (value, os.path.join(root, value))
        elif isinstance(value, (dict, list, tuple)):
            yield from _texts_in(value, root)


def evaluate_masks(evaluators: Iterable[dict]) -> bool:
    """Whether one of the metrics evaluates masks."""
    return any('segm' in (evaluator.get('metric') or ()) for evaluator in evaluators)


def is_classification(cfg: Config) -> bool:
    """Whether a config describes a classifier of MMPretrain."""
    return cfg.get('default_scope') == 'mmpretrain'


def evaluators_of(cfg: Config, split: str) -> list[dict]:
    """The configs of a split's metrics. Training has none."""
    evaluators: Any = cfg.get(f'{split}_evaluator') or [] if split != 'train' else []
    if judges_parts(cfg, split):
        evaluators = evaluators['metrics']
    return list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]


def judges_parts(cfg: Config, split: str) -> bool:
    """Whether MMDetection's MultiDatasetsEvaluator gives each metric the images of its own dataset."""
    evaluator = cfg.get(f'{split}_evaluator')
    return isinstance(evaluator, dict) and 'metrics' in evaluator


def datasets_of(cfg: Config, split: str) -> list[dict]:
    """The configs of a split's datasets, without wrappers such as ConcatDataset."""
    return list(_unwrapped((cfg.get(f'{split}_dataloader') or {}).get('dataset')))


def tested_dataset(cfg: Config) -> dict | None:
    """The config of the first dataset whose pipeline prepares images for testing, or None if there is none."""
    datasets = [*datasets_of(cfg, 'test'), *datasets_of(cfg, 'val')]
    return next((dataset for dataset in datasets if dataset.get('pipeline')), None)


def _unwrapped(dataset: dict | list | tuple | None) -> Iterator[dict]:
    if isinstance(dataset, (list, tuple)):
        for item in dataset:
            yield from _unwrapped(item)
    elif dataset is not None and ('dataset' in dataset or 'datasets' in dataset):
        yield from _unwrapped(dataset.get('dataset', dataset.get('datasets')))
    elif dataset is not None:
        yield dataset


def type_name(part: dict) -> str:
    """The type name of a part of a config, without its scope or module, such as 'EConvNeXt'."""
    kind = part['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


@contextmanager
def explain_user_errors() -> Iterator[None]:
    """Turn the exceptions that the libraries raise after a user's mistake into a UserError that explains it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = str(error)
        # MMDetection's image loader names the file. A worker process puts its traceback before that message.
        _, found, image = text.rpartition('failed to load image: ')
        if found:
            raise UserError(
                f'{image.strip()} is not a readable image: its content is damaged or its format is unknown. '
                'Replace it, or remove it from the dataset.'
            ) from error
        missing = re.search(r"No such file or directory: '(.+?)'", text)
        if missing and 'DataLoader worker' in text:
            raise UserError(
                f'{missing[1]} is gone, which was there when the data was checked. Restore it, and go on with --resume.'
            ) from error
        if re.search(r'DataLoader worker .* (is killed by signal|exited unexpectedly)', text):
            raise UserError(
                f'a worker of a data loader was killed ({text.splitlines()[0]}), mostly because the memory was full: '
                'lower num_workers or batch_size of its dataloader. Training goes on with --resume.'
            ) from error
        if '`epoch_length` must be a positive' in text:
            raise UserError(
                'the training set has fewer images than a batch, and an incomplete batch is dropped; lower '
                'train_dataloader.batch_size, or run tools/check_dataset.py to see whether filter_cfg leaves out images'
            ) from error
        if 'need at least one array to concatenate' in text:
            raise UserError(
                'a dataset has no image, or filter_cfg leaves out all of its images: filter_empty_gt those without '
                'annotations, and min_size those with a shorter side. Correct the annotation file or filter_cfg.'
            ) from error
        if 'Expected more than 1 value per channel when training' in text:
            raise UserError(
                'BatchNorm cannot train on a batch of one image; set train_dataloader.drop_last=True or another '
                'batch_size'
            ) from error
        if 'SyncBatchNorm expected input tensor to be on GPU' in text:
            raise UserError(
                "norm_cfg has SyncBN, which PyTorch has for GPUs only; set type='BN' there to train on the CPU"
            ) from error
        kinds = _being_built(error)
        wrong = re.search(r"__init__\(\) got an unexpected keyword argument '(.+?)'", text)
        if isinstance(error, TypeError) and wrong:
            known = parameters_of(kinds[-1])[0] if kinds else ()
            raise UserError(
                f'the config gives a type an argument that it does not have: {text}; '
                + did_you_mean(wrong[1], known, 'correct the name or remove it', cutoff=0.7)
            ) from error
        if isinstance(error, KeyError) and 'is not in the' in text:
            raise UserError(
                f'the config names a type that is not registered; check its name and custom_imports: {error.args[0]}'
            ) from error
        resumed = _being_resumed(error)
        advice = 'Correct its settings; log_level=DEBUG shows where the error was raised.'
        if kinds or _is_read_by_runner(error):
            # Whatever goes wrong in a constructor, a setting was wrong. The traceback may help to find which one.
            place = ' > '.join(kind.__name__ for kind in kinds) or 'the runner'
            problem = f'cannot build {place} from the config'
        elif resumed:
            problem = f'cannot go on from {resumed}'
            advice = 'It is damaged, or another program or config made it. Give another checkpoint.'
        elif _is_before_second_step(error):
            problem = 'the config was accepted, and then its first step failed'
        else:
            raise
        print_log(''.join(traceback.format_exception(error)), logger='current', level=logging.DEBUG)
        if 'Original Traceback' in text:  # of a worker; its last line has the error
            text = text.splitlines()[-1]
        function = _frames(error)[-1].f_code.co_name
        reason = ' '.join(f'{type(error).__name__}: {text or f"raised in {function}"}'.split())[:500]
        raise UserError(f'{problem}: {reason}. {advice}') from error


def _frames(error: Exception) -> list[FrameType]:
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def _being_built(error: Exception) -> list[Any]:
    """The classes that MMEngine's registries were building when an error was raised, from the outermost one."""
    return [
        frame.f_locals['obj_cls']
        for frame in _frames(error)
        if frame.f_code is build_from_cfg.__code__ and hasattr(frame.f_locals.get('obj_cls'), '__name__')
    ]


def _is_read_by_runner(error: Exception) -> bool:
    """Whether an error was raised while MMEngine's runner read its part of a config."""
    return any(
        frame.f_code.co_filename == Runner.__init__.__code__.co_filename
        and frame.f_code.co_name.startswith(('__init__', 'build_', 'register_', 'setup_', 'from_cfg'))
        for frame in _frames(error)
    )


def _being_resumed(error: Exception) -> str | None:
    """The checkpoint that MMEngine's runner was reading when an error was raised, or None if it was reading none."""
    return next(
        (frame.f_locals['filename'] for frame in _frames(error) if frame.f_code is Runner.resume.__code__),
        None,
    )


def _is_before_second_step(error: Exception) -> bool:
    """Whether an error was raised by a library before a runner had done a step, when nothing shows that it can.

    An error in this package would be a bug of ours.
    """
    frames = _frames(error)
    runner = next((frame.f_locals['self'] for frame in frames if frame.f_code in RUNS), None)
    ours = str(Path(__file__).resolve().parents[1])
    return runner is not None and runner.iter == 0 and not frames[-1].f_code.co_filename.startswith(ours)
