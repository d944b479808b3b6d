"""Reading the scalars that MMEngine logs during a training run."""

from pathlib import Path

from ..utils.errors import UserError
from ..utils.files import parse_json


def read_scalars(path: str) -> list[dict]:
    """Read ``vis_data/scalars.json`` from a work directory.

    During a training run, the last line may be unfinished. An unfinished line is skipped.

    Args:
        path: The file, with one JSON object per line.

    Returns:
        The objects, in the order of the lines.

    Raises:
        UserError: The file cannot be read, or a finished line is not a JSON object.
    """
    try:
        *finished, last = Path(path).read_bytes().split(b'\n')
    except OSError as error:
        raise UserError(f'cannot read {path} as a training log: {error.strerror}') from None
    scalars = [_parse(line) for line in finished]
    if None in scalars:
        raise UserError(
            f'cannot read {path} as a training log: line {scalars.index(None) + 1} is not a JSON object; expected '
            'vis_data/scalars.json from a work directory'
        )
    return [entry for entry in (*scalars, _parse(last)) if entry is not None]


def _parse(line: bytes) -> dict | None:
    """The JSON object in a line, or None if there is none."""
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
