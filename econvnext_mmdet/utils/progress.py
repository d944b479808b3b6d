"""The progress bar of long jobs."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress_bar(auto_refresh: bool = True) -> Progress:
    """Make a progress bar on stderr, so that stdout holds results only. Without a terminal it shows nothing.

    Args:
        auto_refresh: Redraw the bar in a background thread. Turn it off around timed code, because the thread would
            distort the times. Defaults to True.
    """
    console = Console(stderr=True)
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        auto_refresh=auto_refresh,
    )
