"""Reading the metafiles. For each config, they list the names of the model and of the data, and the paper's numbers."""

from pathlib import Path
from typing import Any, NamedTuple

from mmengine.fileio import load

from ..utils.errors import UserError


class Entry(NamedTuple):
    """A config that a metafile lists. Values that the metafile does not have are None.

    Attributes:
        config: The path of the config.
        data: The training data, such as 'BCCD'.
        detector: The detector, such as 'PP-YOLOE-S'.
        backbone: The backbone, such as 'E-ConvNeXt-mini'.
        paper_ap: The box AP in the paper, from 0 to 1.
        paper_gflops: The GFLOPs in the paper: 2 x multiply-adds at 640 x 640.
    """

    config: str
    data: str | None = None
    detector: str | None = None
    backbone: str | None = None
    paper_ap: float | None = None
    paper_gflops: float | None = None


def read_model_index(path: str) -> dict[str, Entry]:
    """Read a model index and the metafiles that it imports.

    Args:
        path: ``model-index.yml``. The paths in it and in the metafiles are relative to its folder.

    Returns:
        A dict from the names of the configs (without folder and file extension) to the entries, in the order of the
        files.

    Raises:
        UserError: A file is missing or is not YAML, or an entry has no config.
    """
    root = Path(path).parent
    entries = {}
    for metafile in _load(Path(path)).get('Import') or ():
        for model in _load(root / metafile).get('Models') or ():
            if 'Config' not in model:
                raise UserError(
                    f'{root / metafile} has an entry without Config: {model.get("Name", model)}; add the path of its '
                    'config file'
                )
            metadata = model.get('Metadata') or {}
            metrics: dict[str, Any] = {}
            for result in model.get('Results') or ():
                metrics.update(result.get('Metrics') or {})
            percent = metrics.get("box AP (the paper's)")
            entries[Path(model['Config']).stem] = Entry(
                config=str(root / model['Config']),
                data=metadata.get('Training Data'),
                detector=metadata.get('Detector'),
                backbone=metadata.get('Backbone'),
                paper_ap=None if percent is None else percent / 100,
                paper_gflops=metadata.get("FLOPs (the paper's)"),
            )
    return entries


def _load(path: Path) -> dict:
    """Read a YAML file that holds a mapping."""
    try:
        content = load(str(path))
    except Exception as error:  # PyYAML's errors and file errors have no other common base
        raise UserError(f'cannot read {path} as YAML: {error}') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} is not a model index or a metafile: expected a mapping with Import or Models')
    return content
