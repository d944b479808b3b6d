"""A table that compares training runs, made from the work directories that MMEngine leaves behind."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from mmengine.config import Config

from ..benchmarks.complexity import build_network, count_network, tested_shape
from ..benchmarks.speed import time_inference
from ..engine.config_values import check_values, is_number
from ..evaluation.tables import markdown_table
from ..utils.config import datasets_of, load_config, type_name
from ..utils.errors import UserError
from ..utils.progress import progress_bar
from ..weights.checkpoint import pretrained_of
from .model_index import Entry, read_model_index
from .scalars import read_scalars

# Height and width in pixels of the image for which the paper counts GFLOPs.
PAPER_SHAPE = (640, 640)
# The number of timed passes per network.
PASSES = 10
# The names of the metrics in MMEngine's log.
METRICS = dict(AP='coco/bbox_mAP', AP50='coco/bbox_mAP_50')


class Training(NamedTuple):
    """A training run that was evaluated after its last epoch.

    Attributes:
        folder: The work directory.
        name: The name of the config.
        settings: The config without seed, work directory and ``resume``. Two training runs with equal settings differ
            at most in the seed.
        names: The names that the config gives: ``data``, ``detector`` and ``backbone``.
        start: The checkpoint that the backbone or the whole model started from. Empty if there is none.
        seed: The seed. None if the config set no seed.
        epochs: The number of epochs.
        metrics: AP and AP50, from 0 to 1.
        minutes: The time from the first to the last line of the log, including evaluation. For a resumed training run,
            it is the sum over the parts. None if a part has no log with times.
    """

    folder: str
    name: str
    settings: dict[str, Any]
    names: dict[str, str]
    start: str
    seed: int | None
    epochs: int
    metrics: dict[str, float]
    minutes: float | None


def read_training(folder: str) -> Training:
    """Read a work directory.

    If it holds several training runs, the last one counts, together with its resumed parts. Tests do not count.

    Args:
        folder: The work directory.

    Raises:
        UserError: The folder holds no training run, its last one was not evaluated after the last epoch, or its config
            or its AP is malformed.
    """
    scalars = {path: read_scalars(str(path)) for path in sorted(Path(folder).glob('*/vis_data/scalars.json'))}
    parts = [path for path, entries in scalars.items() if any('loss' in entry for entry in entries)]
    files = list(Path(folder).glob('*.py'))
    if not parts or len(files) != 1:
        raise UserError(
            f'{folder} is not the work directory of a training run: expected one config, and a folder with '
            'vis_data/scalars.json that has a loss'
        )
    try:
        # A later test may have replaced the config at the top of the work directory.
        configs = [Config.fromfile(str(part.with_name('config.py'))) for part in parts]
        begun = max((i for i, cfg in enumerate(configs) if not cfg.get('resume')), default=0)
        cfg, parts, epochs = configs[begun], parts[begun:], configs[-1].train_cfg.max_epochs
        cfg.train_cfg.max_epochs = epochs  # a resumed part may have more epochs
        check_values(cfg)
        names = _names(cfg)
        starts = [init_cfg['checkpoint'] for init_cfg in pretrained_of(cfg.model.backbone.get('init_cfg'))]
        start = cfg.get('load_from') or ''.join(starts)
    except Exception as error:  # a config may be anything
        raise UserError(
            f'cannot read the config of an epoch-based training run in {folder}: {type(error).__name__}: '
            f'{error}; leave out this folder'
        ) from error
    metrics = [entry for entry in scalars[parts[-1]] if METRICS['AP'] in entry]
    if not metrics or metrics[-1].get('step') != epochs:
        raise UserError(
            f'{folder} has no evaluation of boxes after its last epoch, {epochs}. Either the run is still '
            'running, or it was interrupted (continue it with tools/train.py --resume), or its model is not a detector.'
        )
    found: dict[str, Any] = {name: metrics[-1].get(key) for name, key in METRICS.items()}
    for name, value in found.items():
        if not is_number(value) or not 0 <= value <= 1:
            raise UserError(
                f'{folder} has the {name} {value!r} after its last epoch, in {parts[-1]}; expected a number from 0 to '
                '1. The file is damaged, or the images of the evaluation have no objects; leave out this folder.'
            )
    minutes: list[Any] = [*map(_minutes, parts)]
    # A config without randomness must equal a config whose randomness has no seed.
    cfg.randomness = cfg.get('randomness') or {}
    seed = cfg.randomness.pop('seed', None)
    # A job that may be restarted has --resume even in its first run, so resume must not make a difference.
    for key in ('work_dir', 'resume'):
        cfg.pop(key, None)
    return Training(
        folder=folder,
        name=files[0].stem,
        settings=cfg.to_dict(),
        names=names,
        start=start,
        seed=seed,
        epochs=epochs,
        metrics=found,
        minutes=None if None in minutes else sum(minutes),
    )


def _minutes(scalars: Path) -> float | None:
    """The time between the first and the last line of the log that belongs to a file of scalars."""
    times = []
    for log in scalars.parents[1].glob('*.log'):
        for line in log.read_text(encoding='utf-8', errors='replace').splitlines():
            try:
                times.append(datetime.strptime(line[:19], '%Y/%m/%d %H:%M:%S'))
            except ValueError:  # a message of several lines
                pass
    return (max(times) - min(times)).total_seconds() / 60 if len(times) > 1 else None


def files_of(folder: str) -> list[Path]:
    """The files in a work directory that :func:`read_training` may read."""
    return [path for pattern in ('*.py', '*/*.log', '*/vis_data/*') for path in Path(folder).glob(pattern)]


def compare_trainings(folders: Sequence[str], index: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Read work directories, group the training runs that differ only in the seed, and measure each network.

    A config for which the index has the paper's AP gets a row even without a training run.

    Args:
        folders: The work directories.
        index: The model index, ``model-index.yml``.

    Returns:
        The rows, and a list of reasons why folders are left out because they hold no finished training run. First comes
        one row per config and start, in the order of the folders, then one row per config without a training run, in
        the order of the index. If folders are given but none holds a finished training run, there are no rows.

        - ``config``, ``data``, ``detector``, ``backbone``: names from the index, or else from the config.
        - ``start``, ``epochs``, ``seeds``: see :class:`Training`. A seed that was not set is None.
        - ``AP``, ``AP50``: dicts with the ``values`` by seed, from 0 to 1, their ``mean``, and their sample standard
          deviation ``std`` (None for a single run).
        - ``minutes``: the mean over the seeds. None if a log has no times.
        - ``paper_AP`` (from 0 to 1), ``paper_gflops`` (at 640 x 640): None if the index has no such number.
        - ``input``: height and width of the image in pixels.
        - ``params``, ``gflops`` (2 x multiply-adds): the counts at that size, before branches are folded.
        - ``latency``, ``device``: milliseconds per image of that size, from :func:`time_inference`, and the name of the
          device.

        Without a training run, ``start``, ``epochs``, ``seeds``, ``AP``, ``AP50`` and ``minutes`` are None.

    Raises:
        UserError: Two folders hold the same training run. Two training runs with the same config name and start differ
            in more than the seed. The index cannot be read. Or a config cannot be built or has no image size.
    """
    entries = read_model_index(index)
    groups, left_out = _group(folders)
    if folders and not groups:
        return [], left_out
    cfgs, rows = [], []
    for trainings in groups:
        first = trainings[0]
        cfgs.append(Config(first.settings))
        row: dict[str, Any] = dict(
            start=first.start, epochs=first.epochs, seeds=[training.seed for training in trainings]
        )
        for metric in first.metrics:
            values = [training.metrics[metric] for training in trainings]
            row[metric] = dict(values=values, mean=mean(values), std=stdev(values) if len(values) > 1 else None)
        minutes: list[Any] = [training.minutes for training in trainings]
        row['minutes'] = None if None in minutes else mean(minutes)
        rows.append({**_described(first.name, first.names, entries.get(first.name)), **row})
    trained = {row['config'] for row in rows}
    for name, entry in entries.items():
        if entry.paper_ap is not None and name not in trained:
            cfgs.append(load_config(entry.config))
            rows.append(
                {
                    **_described(name, _names(cfgs[-1]), entry),
                    **dict.fromkeys(('start', 'epochs', 'seeds', 'AP', 'AP50', 'minutes')),
                }
            )
    _measure(rows, cfgs)
    return rows, left_out


def _group(folders: Sequence[str]) -> tuple[list[list[Training]], list[str]]:
    """Group the finished training runs that differ only in the seed, and say why other folders are left out."""
    groups: dict[tuple[str, str], list[Training]] = {}
    left_out = []
    for folder in folders:
        try:
            training = read_training(folder)
        except UserError as error:
            left_out.append(str(error))
            continue
        group = groups.setdefault((training.name, training.start), [])
        for other in group:
            if other.settings != training.settings:
                raise UserError(
                    f'{other.folder} and {training.folder} have the same config name, {training.name}, but their '
                    'settings differ in more than the seed; give each its own config, or leave one out'
                )
            # If no seed was set, each run drew its own.
            same_seed = training.seed is not None and other.seed == training.seed
            if same_seed or Path(other.folder).samefile(training.folder):
                raise UserError(
                    f'{other.folder} and {training.folder} have the same config, start and seed ({training.seed}); '
                    'leave one out'
                )
        group.append(training)
    return list(groups.values()), left_out


def _names(cfg: Config) -> dict[str, str]:
    """The names of the data, the detector and the backbone, from a config."""
    roots = [Path(dataset.get('data_root') or '').name for dataset in datasets_of(cfg, 'test')]
    return dict(
        data=', '.join(filter(None, roots)), detector=type_name(cfg.model), backbone=_backbone_name(cfg.model.backbone)
    )


def _described(name: str, names: dict[str, str], entry: Entry | None) -> dict[str, Any]:
    """The names and the paper's numbers for a config, from its entry in the index, or else from the config itself."""
    entry = entry or Entry(name)
    return dict(
        config=name,
        data=entry.data or names['data'],
        detector=entry.detector or names['detector'],
        backbone=entry.backbone or names['backbone'],
        paper_AP=entry.paper_ap,
        paper_gflops=entry.paper_gflops,
    )


def _backbone_name(backbone: dict) -> str:
    """The type of a backbone with its size, such as 'EConvNeXt-mini' or 'ResNet-18'."""
    size = backbone.get('arch', backbone.get('depth'))
    return type_name(backbone) + (f'-{size}' if isinstance(size, (str, int)) else '')


def _measure(rows: list[dict[str, Any]], cfgs: list[Config]) -> None:
    """Measure size and latency of the networks of the configs, and add the numbers to the rows."""
    shapes = []
    print(
        f'counting the multiply-adds of {len(rows)} networks, then timing {PASSES} passes of each; this takes minutes '
        'on a CPU',
        file=sys.stderr,
    )
    with progress_bar() as progress:
        for row, cfg in zip(progress.track(rows, description='counting'), cfgs):
            try:
                shape = tested_shape(cfg)
                model = count_network(build_network(cfg), shape)
            except UserError as error:
                raise UserError(f'cannot count the multiply-adds of {row["config"]}: {error}') from error
            shapes.append(shape)
            row.update(input=list(shape), params=model.params, gflops=2 * model.macs / 1e9)
    latencies, device = time_inference(list(zip(cfgs, shapes)), PASSES)
    for row, latency in zip(rows, latencies):
        row.update(latency=latency, device=device)


def trainings_table(rows: list[dict[str, Any]]) -> str:
    """Make a Markdown table with footnotes from the rows of :func:`compare_trainings`.

    AP and AP50 are means, followed by the standard deviation after ±. A missing value is '-'.
    """
    names = [
        'data',
        'detector',
        'backbone',
        'starts from',
        'epochs',
        'seeds',
        'input',
        'parameters (M)',
        'GFLOPs',
        'GFLOPs (paper)',
        'AP',
        'AP (paper)',
        'AP50',
        'latency (ms)',
        'minutes',
        'config',
    ]
    table: list[list[Any]] = [names]
    for row in rows:
        untrained = row['AP'] is None
        start = f'`{row["start"]}`' if row['start'] else 'scratch'
        seeds = ', '.join('-' if seed is None else str(seed) for seed in row['seeds'] or ())
        cells = [
            row['data'] or '-',
            row['detector'],
            row['backbone'],
            *(('-', '-', '-') if untrained else (start, row['epochs'], seeds)),
            _size(row['input']),
            f'{row["params"] / 1e6:.2f}',
            f'{row["gflops"]:.2f}',
            '-' if row['paper_gflops'] is None else row['paper_gflops'],
            'not trained' if untrained else _mean(row['AP']),
            '-' if row['paper_AP'] is None else f'{row["paper_AP"]:.3f}',
            '-' if untrained else _mean(row['AP50']),
            f'{row["latency"]:.1f}',
            '-' if row['minutes'] is None else f'{row["minutes"]:.1f}',
            f'`{row["config"]}`',
        ]
        table.append(cells)
    return '\n'.join([markdown_table(table), '', *_notes(rows)])


def _mean(metric: dict[str, Any]) -> str:
    return f'{metric["mean"]:.3f}' + ('' if metric['std'] is None else f' ± {metric["std"]:.3f}')


def _size(shape: Sequence[int]) -> str:
    return f'{shape[0]} x {shape[1]}'


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """The footnotes of the table."""
    notes = [
        'Parameters, GFLOPs (2 x multiply-adds) and latency are those of the network alone, for one image of size '
        '`input` (height x width). Image loading, decoding and NMS are not included.'
    ]
    if any(tuple(row['input']) != PAPER_SHAPE for row in rows):
        notes.append(f"The paper's GFLOPs are for {_size(PAPER_SHAPE)}, regardless of the size in the row.")
    notes.append(
        f'Latency is the median of {PASSES} passes on this machine, with branches folded (parameters and GFLOPs are '
        f'counted before folding): {rows[0]["device"]}.'
    )
    return notes
