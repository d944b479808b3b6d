"""One table of several trainings, from what MMEngine left in their work directories."""
import json
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config

from ..errors import UserError


class Run(NamedTuple):
    """A training that was evaluated after its last epoch.

    Attributes:
        folder (str): Its work directory.
        config (str): The name of its config.
        start (str): The checkpoint that its backbone or the whole model started from, '' for none.
        seed (int, optional): None where none was set.
        epochs (int): How many epochs.
        metrics (dict[str, float]): AP and AP50, from 0 to 1.
        minutes (float): From the log's first line to its last, evaluation included.
    """
    folder: str
    config: str
    start: str
    seed: Optional[int]
    epochs: int
    metrics: Dict[str, float]
    minutes: float


def read_run(folder: str) -> Run:
    """Read a work directory; of several trainings in it the last.

    Raises:
        UserError: It is none, or its last training did not come to the evaluation after its last epoch.
    """
    configs = sorted(Path(folder).glob('*.py'), key=lambda path: path.stat().st_mtime)
    scalars = sorted(Path(folder).glob('*/vis_data/scalars.json'))
    if not configs or not scalars:
        raise UserError(f'{folder} is no work directory of a training: expected a config in it, and a folder with '
                        'vis_data/scalars.json')
    cfg = Config.fromfile(str(configs[-1]))
    epochs = cfg.train_cfg.max_epochs
    lines = [json.loads(line) for line in scalars[-1].read_text().splitlines()]
    metrics = [line for line in lines if 'coco/bbox_mAP' in line]
    if not metrics or metrics[-1]['step'] != epochs:
        raise UserError(f'{folder} holds no evaluation of boxes after epoch {epochs}, its last: the training was cut '
                        'short, or it is no detector\'s; go on with tools/train.py --resume')
    init_cfg = cfg.model.backbone.get('init_cfg') or {}
    log, = scalars[-1].parents[1].glob('*.log')
    return Run(
        folder=folder, config=configs[-1].stem, start=init_cfg.get('checkpoint') or cfg.get('load_from') or '',
        seed=cfg.get('randomness', {}).get('seed'), epochs=epochs,
        metrics=dict(AP=metrics[-1]['coco/bbox_mAP'], AP50=metrics[-1]['coco/bbox_mAP_50']), minutes=_minutes(log))


def _minutes(log: Path) -> float:
    times = []
    for line in log.read_text(encoding='utf-8').splitlines():
        try:
            times.append(datetime.strptime(line[:19], '%Y/%m/%d %H:%M:%S'))
        except ValueError:  # a line that goes on
            pass
    return (times[-1] - times[0]).total_seconds() / 60


def compare_runs(folders: Sequence[str]) -> List[Dict[str, Any]]:
    """Read work directories, and put together what differs in its seed alone.

    Returns:
        list[dict]: A row for each config and start, in the order of the folders: ``config``, ``start``, ``epochs``,
        ``seeds``; ``AP`` and ``AP50``, each a dict with the ``values`` by seed, their ``mean`` and their standard
        deviation ``std`` (of a sample; None of one run); ``minutes``, the mean.

    Raises:
        UserError: A folder is no finished training, or two are of one config, start and seed.
    """
    groups: Dict[Tuple, List[Run]] = defaultdict(list)
    for run in map(read_run, folders):
        group = groups[run.config, run.start, run.epochs]
        for other in group:
            if other.seed == run.seed:
                raise UserError(f'{other.folder} and {run.folder} are of one config, start and seed ({run.seed}); '
                                'give one of them')
        group.append(run)
    rows = []
    for (config, start, epochs), runs in groups.items():
        row = dict(config=config, start=start, epochs=epochs, seeds=[run.seed for run in runs])
        for name in runs[0].metrics:
            values = [run.metrics[name] for run in runs]
            row[name] = dict(values=values, mean=mean(values), std=stdev(values) if len(values) > 1 else None)
        rows.append({**row, 'minutes': mean(run.minutes for run in runs)})
    return rows


def runs_table(rows: List[Dict[str, Any]]) -> str:
    """The rows of :func:`compare_runs` as a Markdown table: means, and after ± the standard deviations."""
    lines = ['| config | backbone starts from | epochs | seeds | AP | AP50 | minutes |', '|---' * 7 + '|']
    for row in rows:
        cells = [f'`{row["config"]}`', Path(row['start']).name or 'scratch', row['epochs'],
                 ', '.join(map(str, row['seeds'])),
                 *(f'{row[name]["mean"]:.3f}' + ('' if row[name]['std'] is None else f' ± {row[name]["std"]:.3f}')
                   for name in ('AP', 'AP50')), f'{row["minutes"]:.1f}']
        lines.append(f'| {" | ".join(map(str, cells))} |')
    return '\n'.join(lines)
