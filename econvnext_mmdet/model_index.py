"""What the metafiles say of the configs: what they are called, and what the paper printed."""
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional

from mmengine.fileio import load

from .errors import UserError


class Entry(NamedTuple):
    """A config that is listed in a metafile; None stands for what that does not say.

    Attributes:
        config (str): Its path.
        data (str, optional): What it trains on, as 'BCCD'.
        detector (str, optional): As 'PP-YOLOE-S'.
        backbone (str, optional): As 'E-ConvNeXt-mini'.
        paper_ap (float, optional): The box AP that the paper printed, from 0 to 1.
        paper_gflops (float, optional): The GFLOPs that the paper printed: 2 x multiply-adds at 640 x 640.
    """
    config: str
    data: Optional[str] = None
    detector: Optional[str] = None
    backbone: Optional[str] = None
    paper_ap: Optional[float] = None
    paper_gflops: Optional[float] = None


def read_model_index(path: str) -> Dict[str, Entry]:
    """Read a model index and the metafiles that it imports.

    Args:
        path (str): ``model-index.yml``; the metafiles and the configs lie relative to its folder.

    Returns:
        dict[str, Entry]: The entries by the names of their configs, without folder and ending, in their order.

    Raises:
        UserError: A file is missing or no YAML, or an entry lacks its config.
    """
    root = Path(path).parent
    entries = {}
    for metafile in _load(Path(path)).get('Import') or ():
        for model in _load(root / metafile).get('Models') or ():
            if 'Config' not in model:
                raise UserError(f'{root / metafile} has an entry without Config: {model.get("Name", model)}; name its '
                                'config file there')
            metadata = model.get('Metadata') or {}
            metrics: Dict[str, Any] = {}
            for result in model.get('Results') or ():
                metrics.update(result.get('Metrics') or {})
            percent = metrics.get("box AP (the paper's)")
            entries[Path(model['Config']).stem] = Entry(
                config=str(root / model['Config']), data=metadata.get('Training Data'),
                detector=metadata.get('Detector'), backbone=metadata.get('Backbone'),
                paper_ap=None if percent is None else percent / 100,
                paper_gflops=metadata.get("FLOPs (the paper's)"))
    return entries


def _load(path: Path) -> dict:
    try:
        content = load(str(path))
    except Exception as error:  # PyYAML's have no common base with those of files
        raise UserError(f'cannot read {path} as YAML: {error}') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} is no model index and no metafile: expected a mapping with Import or Models')
    return content
