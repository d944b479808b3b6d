"""One table of several trainings, from what MMEngine left in their work directories."""
import json
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config

from ..checkpoint import pretrained_of
from ..errors import UserError


class Run(NamedTuple):
    """A training that was evaluated after its last epoch.

    Attributes:
        folder (str): Its work directory.
        name (str): The name of its config.
        settings (dict): All of its config but the seed and the work directory, to tell whether two are the same.
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
    seed = (cfg.get('randomness') or {}).pop('seed', None)
    cfg.pop('work_dir', None)
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


def compare_runs(folders: Sequence[str]) -> Tuple[List[Dict[str, Any]], List[str]]:
    """Read work directories, and put together what differs in its seed alone.

    Returns:
        tuple[list[dict], list[str]]: The table, and why folders that are no finished training are left out. A row
        for each config and start, in the order of the folders: ``config``, ``start``, ``epochs``, ``seeds``;
        ``AP`` and ``AP50``, each a dict with the ``values`` by seed, their ``mean`` and their standard deviation
        ``std`` (of a sample; None of one run); ``minutes``, the mean.

    Raises:
        UserError: Two folders are one training, or two of one config's name and start differ in more than the seed.
    """
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
            if other.seed == run.seed:
                raise UserError(f'{other.folder} and {run.folder} are of one config, start and seed ({run.seed}); '
                                'give one of them')
        group.append(run)
    rows = []
    for (name, start), runs in groups.items():
        row = dict(config=name, start=start, epochs=runs[0].epochs, seeds=[run.seed for run in runs])
        for metric in runs[0].metrics:
            values = [run.metrics[metric] for run in runs]
            row[metric] = dict(values=values, mean=mean(values), std=stdev(values) if len(values) > 1 else None)
        rows.append({**row, 'minutes': mean(run.minutes for run in runs)})
    return rows, left_out


def runs_table(rows: List[Dict[str, Any]]) -> str:
    """The rows of :func:`compare_runs` as a Markdown table: means, and after ± the standard deviations."""
    lines = ['| config | starts from | epochs | seeds | AP | AP50 | minutes |', '|---' * 7 + '|']
    for row in rows:
        cells = [f'`{row["config"]}`', f'`{row["start"]}`' if row['start'] else 'scratch', row['epochs'],
                 ', '.join(map(str, row['seeds'])),
                 *(f'{row[name]["mean"]:.3f}' + ('' if row[name]['std'] is None else f' ± {row[name]["std"]:.3f}')
                   for name in ('AP', 'AP50')), f'{row["minutes"]:.1f}']
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)
