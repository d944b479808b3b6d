"""One table of several trainings, from what MMEngine left in their work directories."""
import json
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config
from rich.console import Console
from rich.progress import track

from ..checkpoint import pretrained_of
from ..complexity import build_model, count_network, tested_shape, type_name
from ..datasets.checks import datasets_of
from ..engine.benchmark import time_inference
from ..engine.run import load_config
from ..errors import UserError
from ..model_index import Entry, read_model_index

# Where the paper counts, in pixels.
PAPER_SHAPE = (640, 640)
# Timed passes of each network.
PASSES = 10


class Run(NamedTuple):
    """A training that was evaluated after its last epoch.

    Attributes:
        folder (str): Its work directory.
        name (str): The name of its config.
        settings (dict): Its config without seed, work directory and ``resume``, to tell whether two are the same.
        start (str): The checkpoint that its backbone or the whole model started from, '' for none.
        seed (int, optional): None where none was set.
        epochs (int): How many epochs.
        metrics (dict[str, float]): AP and AP50, from 0 to 1.
        minutes (float): From the log's first line to its last, evaluation included; of a training that was
            resumed, the sum of its parts.
    """
    folder: str
    name: str
    settings: Dict[str, Any]
    start: str
    seed: Optional[int]
    epochs: int
    metrics: Dict[str, float]
    minutes: float


def read_run(folder: str) -> Run:
    """Read a work directory; of several trainings in it the last, which may have been resumed. Tests do not count.

    Raises:
        UserError: There is none in it, or none that came to the evaluation after its last epoch.
    """
    scalars = {path: _read_lines(path) for path in sorted(Path(folder).glob('*/vis_data/scalars.json'))}
    parts = [path for path, lines in scalars.items() if any('loss' in line for line in lines)]
    names = list(Path(folder).glob('*.py'))
    if not parts or len(names) != 1:
        raise UserError(f'{folder} is no work directory of a training: expected one config in it, and a folder with '
                        'vis_data/scalars.json')
    try:
        # What a later test wrote at the top of the work directory is not what was trained.
        configs = [Config.fromfile(str(part.with_name('config.py'))) for part in parts]
        begun = max((i for i, cfg in enumerate(configs) if not cfg.get('resume')), default=0)
        cfg, parts, epochs = configs[begun], parts[begun:], configs[-1].train_cfg.max_epochs
        cfg.train_cfg.max_epochs = epochs  # resuming may change it
        backbone = cfg.model.get('backbone') or {}
    except Exception as error:  # a config may be anything
        raise UserError(f'{folder} has no readable config of a training by epochs: {error}') from error
    metrics = [line for line in scalars[parts[-1]] if 'coco/bbox_mAP' in line]
    if not metrics or metrics[-1]['step'] != epochs:
        raise UserError(f'{folder} holds no evaluation of boxes after epoch {epochs}, its last: the training goes on '
                        'or was cut short, which tools/train.py --resume mends, or it is no detector\'s')
    starts = [init_cfg['checkpoint'] for init_cfg in pretrained_of(backbone.get('init_cfg'))]
    cfg.randomness = cfg.get('randomness') or {}  # without a seed it is as where it was not mentioned
    seed = cfg.randomness.pop('seed', None)
    for key in ('work_dir', 'resume'):  # a job that may be restarted is begun with --resume, too
        cfg.pop(key, None)
    return Run(
        folder=folder, name=names[0].stem, settings=cfg.to_dict(), start=cfg.get('load_from') or ''.join(starts),
        seed=seed, epochs=epochs, metrics=dict(AP=metrics[-1]['coco/bbox_mAP'], AP50=metrics[-1]['coco/bbox_mAP_50']),
        minutes=sum(map(_minutes, parts)))


def _read_lines(scalars: Path) -> List[dict]:
    lines = []
    for line in scalars.read_text(encoding='utf-8').splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # the last one of a run that goes on
            pass
    return lines


def _minutes(scalars: Path) -> float:
    times = []
    for log in scalars.parents[1].glob('*.log'):
        for line in log.read_text(encoding='utf-8').splitlines():
            try:
                times.append(datetime.strptime(line[:19], '%Y/%m/%d %H:%M:%S'))
            except ValueError:  # a line that goes on
                pass
    return (max(times) - min(times)).total_seconds() / 60 if times else 0.


def compare_runs(folders: Sequence[str], index: str) -> Tuple[List[Dict[str, Any]], List[str]]:
    """Read work directories, put together what differs in its seed alone, and count and time each network.

    Configs of which the index has the paper's AP, and that none of the trainings is of, get a row too.

    Args:
        folders (Sequence[str]): The work directories.
        index (str): The model index, which knows what configs are called and what the paper printed.

    Returns:
        tuple[list[dict], list[str]]: The table, and why folders that are no finished training are left out. A row
        for each config and start, in the order of the folders, then those without a run in the order of the index;
        there are none where folders are given and none is a finished training.

        - ``config``, ``data``, ``detector``, ``backbone``: names, those of the index where it has the config.
        - ``start``, ``epochs``, ``seeds``, of which one that was not set is None.
        - ``AP`` and ``AP50``: each a dict with the ``values`` by seed, from 0 to 1, their ``mean`` and their standard
          deviation ``std`` (of a sample; None of one run).
        - ``minutes``: the mean over the seeds.
        - ``paper_AP`` (from 0 to 1), ``paper_gflops`` (at 640 x 640): None where the index has none.
        - ``input``: height and width of the image in pixels; ``params`` and ``gflops`` (2 x multiply-adds): at that
          size, before branches are folded.
        - ``latency``: ms an image of that size, as :func:`time_inference` takes it; ``device``: on what.

        Without a run, ``start``, ``epochs``, ``seeds``, ``AP``, ``AP50`` and ``minutes`` are None.

    Raises:
        UserError: Two folders are one training, or two of one config's name and start differ in more than the seed;
            the index cannot be read, or a config cannot be built or says no size of its images.
    """
    entries = read_model_index(index)
    groups, left_out = _group(folders)
    if folders and not groups:
        return [], left_out
    cfgs, rows = [], []
    for runs in groups:
        cfgs.append(Config(runs[0].settings))
        row = dict(start=runs[0].start, epochs=runs[0].epochs, seeds=[run.seed for run in runs])
        for metric in runs[0].metrics:
            values = [run.metrics[metric] for run in runs]
            row[metric] = dict(values=values, mean=mean(values), std=stdev(values) if len(values) > 1 else None)
        row['minutes'] = mean(run.minutes for run in runs)
        rows.append({**_names(runs[0].name, cfgs[-1], entries.get(runs[0].name)), **row})
    trained = {row['config'] for row in rows}
    for name, entry in entries.items():
        if entry.paper_ap is not None and name not in trained:
            cfgs.append(load_config(entry.config))
            rows.append({**_names(name, cfgs[-1], entry),
                         **dict.fromkeys(('start', 'epochs', 'seeds', 'AP', 'AP50', 'minutes'))})
    _measure(rows, cfgs)
    return rows, left_out


def _group(folders: Sequence[str]) -> Tuple[List[List[Run]], List[str]]:
    """The finished trainings, those together that differ in their seed alone, and why others are left out."""
    groups: Dict[tuple, List[Run]] = {}
    left_out = []
    for folder in folders:
        try:
            run = read_run(folder)
        except UserError as error:
            left_out.append(str(error))
            continue
        group = groups.setdefault((run.name, run.start), [])
        for other in group:
            if other.settings != run.settings:
                raise UserError(f'{other.folder} and {run.folder} are of one config, {run.name}, and differ in more '
                                'than the seed; give each a config of its own, or leave one out')
            same_seed = run.seed is not None and other.seed == run.seed  # where none was set, each drew its own
            if same_seed or Path(other.folder).samefile(run.folder):
                raise UserError(f'{other.folder} and {run.folder} are of one config, start and seed ({run.seed}); '
                                'give one of them')
        group.append(run)
    return list(groups.values()), left_out


def _names(name: str, cfg: Config, entry: Optional[Entry]) -> Dict[str, Any]:
    """What a config is called and what the paper printed, by its entry; what that lacks, by the config itself."""
    entry = entry or Entry(name)
    roots = [Path(dataset.get('data_root') or '').name for dataset in datasets_of(cfg, 'test')]
    return dict(
        config=name, data=entry.data or ', '.join(filter(None, roots)),
        detector=entry.detector or type_name(cfg.model), backbone=entry.backbone or _backbone_name(cfg),
        paper_AP=entry.paper_ap, paper_gflops=entry.paper_gflops)


def _backbone_name(cfg: Config) -> str:
    backbone = cfg.model['backbone']
    size = backbone.get('arch', backbone.get('depth'))
    return type_name(backbone) + (f'-{size}' if isinstance(size, (str, int)) else '')


def _measure(rows: List[Dict[str, Any]], cfgs: List[Config]) -> None:
    """Count and time the configs' networks, and add the numbers to their rows."""
    shapes = []
    console = Console(stderr=True)
    console.print(f'counting {len(rows)} networks, then timing {PASSES} passes of each: minutes on a CPU')
    for row, cfg in zip(track(rows, 'counting', console=console, disable=not console.is_terminal), cfgs):
        try:
            shape = tested_shape(cfg)
            model = count_network(build_model(cfg), shape)
        except UserError as error:
            raise UserError(f'{row["config"]} cannot be counted: {error}') from error
        shapes.append(shape)
        row.update(input=list(shape), params=model.params, gflops=2 * model.macs / 1e9)
    latencies, device = time_inference(list(zip(cfgs, shapes)), PASSES)
    for row, latency in zip(rows, latencies):
        row.update(latency=latency, device=device)


def runs_table(rows: List[Dict[str, Any]]) -> str:
    """The rows of :func:`compare_runs` as a Markdown table and what to know of it.

    AP and AP50 are means, with the standard deviation after ±; '-' stands for what there is not.
    """
    names = ['data', 'detector', 'backbone', 'starts from', 'epochs', 'seeds', 'input', 'parameters (M)', 'GFLOPs',
             'GFLOPs (paper)', 'AP', 'AP (paper)', 'AP50', 'latency (ms)', 'minutes', 'config']
    lines = [f'| {" | ".join(names)} |', '|---' * len(names) + '|']
    for row in rows:
        untrained = row['AP'] is None
        start = f'`{row["start"]}`' if row['start'] else 'scratch'
        seeds = ', '.join('-' if seed is None else str(seed) for seed in row['seeds'] or ())
        cells = [
            row['data'] or '-', row['detector'], row['backbone'],
            *(('-', '-', '-') if untrained else (start, row['epochs'], seeds)),
            _size(row['input']), f'{row["params"] / 1e6:.2f}', f'{row["gflops"]:.2f}',
            '-' if row['paper_gflops'] is None else row['paper_gflops'],
            'no run' if untrained else _mean(row['AP']),
            '-' if row['paper_AP'] is None else f'{row["paper_AP"]:.3f}',
            '-' if untrained else _mean(row['AP50']),
            f'{row["latency"]:.1f}', '-' if untrained else f'{row["minutes"]:.1f}', f'`{row["config"]}`'
        ]
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join([*lines, '', *_notes(rows)])


def _mean(metric: Dict[str, Any]) -> str:
    return f'{metric["mean"]:.3f}' + ('' if metric['std'] is None else f' ± {metric["std"]:.3f}')


def _size(shape: Sequence[int]) -> str:
    return f'{shape[0]} x {shape[1]}'


def _notes(rows: List[Dict[str, Any]]) -> List[str]:
    """What the numbers are of."""
    notes = ['Parameters, GFLOPs (2 x multiply-adds) and latency are of the network alone, for one image of the size '
             '`input` (height x width): reading images, decoding and NMS are left out.']
    if any(tuple(row['input']) != PAPER_SHAPE for row in rows):
        notes.append(f'The paper\'s GFLOPs are at {_size(PAPER_SHAPE)}, whatever the size in the row.')
    notes.append(f'Latency is the median of {PASSES} passes here, with branches folded (the counts are not): '
                 f'{rows[0]["device"]}.')
    return notes
