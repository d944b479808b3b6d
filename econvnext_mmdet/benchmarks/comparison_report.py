"""Writing the result of a speed comparison as Markdown, JSON and a plot."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from ..evaluation.tables import markdown_table
from ..utils.files import whole_file, write_json
from .comparison import MATRIX, Comparison, Measurement, Network

OURS, OTHERS = 'tab:red', '#3b4252'
# The runtimes for the plot, best first.
PLOTTED = ('openvino', 'onnxruntime', 'eager')
# Where a label may be, in points from its point, with its alignment: best first.
PLACES = tuple(
    (x, y, horizontal, vertical)
    for gap in (5, 11, 18, 26)
    for x, y, horizontal, vertical in (
        (gap, 0, 'left', 'center'),
        (0, gap, 'center', 'bottom'),
        (0, -gap, 'center', 'top'),
        (-gap, 0, 'right', 'center'),
        (gap, gap, 'left', 'bottom'),
        (gap, -gap, 'left', 'top'),
        (-gap, gap, 'right', 'bottom'),
        (-gap, -gap, 'right', 'top'),
    )
)
NOTE = {
    'top-1': 'Whole classifiers, from an image in memory to logits.',
    'AP': 'Networks of detectors, from an image in memory to the tensors of the head, without decoding and NMS. Only '
    'two-stage detectors decode their proposals and apply NMS to them; exported, they do so for their detections too.',
}


def report_files(folder: str) -> list[Path]:
    """The files that :func:`save_comparison` writes: the table, the numbers and the plot."""
    return [Path(folder, f'benchmark.{extension}') for extension in ('md', 'json', 'svg')]


def save_comparison(comparison: Comparison, folder: str, table: str) -> list[Path]:
    """Write ``benchmark.md``, ``benchmark.json``, and ``benchmark.svg`` if accuracies are known.

    Args:
        comparison: The result.
        folder: The folder. It is created.
        table: The Markdown.

    Returns:
        The files.
    """
    paths = report_files(folder)
    write_json(str(paths[1]), asdict(comparison))
    with whole_file(paths[0]) as part:
        part.write_text(table, encoding='utf-8')
    figure = plot(comparison)
    if figure is None:
        return paths[:2]
    with whole_file(paths[2]) as part:
        figure.savefig(part)
    return paths


def to_markdown(comparison: Comparison) -> str:
    """Make the tables for :func:`~econvnext_mmdet.benchmarks.comparison.compare`."""
    runtimes = list(dict.fromkeys(m.runtime for m in comparison.measurements))
    by_name: dict[str, dict[str, Measurement]] = {}
    for measured in comparison.measurements:
        by_name.setdefault(measured.name, {})[measured.runtime] = measured
    times = [['network', f'{comparison.metric} (%)', 'parameters (M)', 'GMACs', 'images', *runtimes, 'memory (MiB)']]
    shares = [['network', *runtimes]]
    for network in comparison.networks:
        if network.name not in by_name:
            continue
        row = by_name[network.name]
        first = next(iter(row.values()))
        title = f'**{network.title}**' if network.ours else network.title
        times.append(
            [
                title,
                _or_dash(network.accuracy, '.1f'),
                f'{network.params / 1e6:.2f}',
                f'{first.inference_macs / first.batch_size / 1e9:.2f}',
                f'{first.batch_size} x {first.height} x {first.width}',
                *(_times(row.get(runtime)) for runtime in runtimes),
                _or_dash(row['eager'].memory if 'eager' in row else None, '.0f'),
            ]
        )
        shares.append([title, *(_or_dash(row[name].share if name in row else None, '.0%') for name in runtimes)])
    if not any(measured.memory for measured in comparison.measurements):
        times = [row[:-1] for row in times]
    rates = [next(m.rate for m in comparison.measurements if m.runtime == runtime) / 1e9 for runtime in runtimes]
    return '\n'.join(
        [
            '## Milliseconds per call',
            '',
            f'{NOTE[comparison.metric]} {_settings(comparison)} A cell has the median of the rounds, and the lowest '
            'and the highest value.',
            '',
            markdown_table(times),
            '',
            '## Share of the rate of a matrix product',
            '',
            f'100 % is the rate of a float32 product of two {MATRIX} x {MATRIX} matrices in PyTorch, measured in the '
            f'same rounds: {", ".join(f"{rate:.0f} GMAC/s ({name})" for name, rate in zip(runtimes, rates))}. This '
            'product is not the fastest that a CPU can do, so a network can exceed 100 %, above all in int8.',
            '',
            markdown_table(shares),
            '',
            *_sources(comparison),
        ]
    )


def sizes_to_markdown(comparison: Comparison) -> str:
    """Make the table for :func:`~econvnext_mmdet.benchmarks.comparison.compare_sizes`."""
    rows = [['network', 'runtime', 'images', 'ms', 'ms per pixel', 'memory (MiB)', 'memory per pixel']]
    titles = {network.name: network.title for network in comparison.networks}
    bases: dict[tuple[str, str], Measurement] = {}
    for measured in comparison.measurements:
        base = bases.setdefault((measured.name, measured.runtime), measured)  # the smallest image comes first
        pixels = measured.pixels / base.pixels
        growth = measured.memory / base.memory / pixels if measured.memory and base.memory else None
        rows.append(
            [
                titles[measured.name],
                measured.runtime,
                f'{measured.batch_size} x {measured.height} x {measured.width}',
                _times(measured),
                f'{measured.time / base.time / pixels:.2f}',
                _or_dash(measured.memory, '.0f'),
                _or_dash(growth, '.2f'),
            ]
        )
    return '\n'.join(
        [
            '## Time and memory by the size of the input',
            '',
            f'{NOTE[comparison.metric]} {_settings(comparison)} Milliseconds are the median, the lowest and the '
            'highest value. Time and memory per pixel are relative to the first row of each network: 1.00 or less '
            'means that they grow no faster than the number of pixels.',
            '',
            markdown_table(rows),
            '',
            *(f'- {failure}' for failure in comparison.failures),
        ]
    )


def _or_dash(value: float | None, form: str) -> str:
    return '-' if value is None else format(value, form)


def _times(measured: Measurement | None) -> str:
    """The median, the lowest and the highest time."""
    if measured is None:
        return '-'
    return f'{measured.time:.1f} ({min(measured.times):.1f} to {max(measured.times):.1f})'


def _settings(comparison: Comparison) -> str:
    environment = comparison.environment
    versions = ', '.join(f'{name} {number}' for name, number in environment['versions'].items())
    return (
        f'{environment["device"]}; rounds: {environment["rounds"]}; {environment["date"]}; {versions}. The weights are '
        'random, BatchNorms are folded and parallel branches merged, except for training. int8 is calibrated on random '
        'images, so only its speed means anything.'
    )


def _sources(comparison: Comparison) -> list[str]:
    """Where the accuracies come from, one line per source, and the networks that failed."""
    by_source: dict[str, list[str]] = {}
    for network in comparison.networks:
        if network.accuracy is not None:
            by_source.setdefault(network.source, []).append(network.title)
    lines = [f'- {", ".join(titles)}: {source}' for source, titles in by_source.items()]
    if lines:
        lines = [f'Sources of the {comparison.metric}, which was published and not measured here:', '', *lines, '']
    return [*lines, *(f'- {failure}' for failure in comparison.failures)]


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """The points that no other point beats: none is as fast and as accurate, and better in one of both.

    Args:
        points: Pairs of a time and an accuracy.

    Returns:
        Their indices, the fastest first. Equal points are all included.
    """
    best = [
        index
        for index, (time, accuracy) in enumerate(points)
        if not any(t <= time and a >= accuracy and (t, a) != (time, accuracy) for t, a in points)
    ]
    return sorted(best, key=lambda index: points[index])


def plot(comparison: Comparison) -> Figure | None:
    """Draw the accuracy over the time, with the frontier of the networks that no other beats.

    The runtime is OpenVINO, or else ONNX Runtime, eager PyTorch or the first that was measured.

    Returns:
        The figure. None if no accuracy is known.
    """
    measured = [m.runtime for m in comparison.measurements]
    runtime = next((name for name in PLOTTED if name in measured), next(iter(measured), None))
    times = {m.name: m for m in comparison.measurements if m.runtime == runtime}
    shown = [(n, times[n.name]) for n in comparison.networks if n.accuracy is not None and n.name in times]
    if not shown:
        return None
    points = [(m.time, n.accuracy or 0.0) for n, m in shown]
    figure = Figure(figsize=(9, 6), layout='constrained')
    axes = figure.subplots()
    axes.set_xscale('log')
    best = frontier(points)
    axes.plot(*zip(*(points[i] for i in best)), color='0.6', linewidth=1.2, zorder=1, label='not beaten by any other')
    for ours, color, label in ((False, OTHERS, 'peers'), (True, OURS, 'E-ConvNeXt')):
        some = [point for point, (network, _) in zip(points, shown) if network.ours == ours]
        if some:
            x, y = zip(*some)
            axes.scatter(x, y, color=color, s=42 if ours else 28, zorder=3, label=label)
    _style(axes, comparison, shown[0][1])
    figure.legend(loc='outside lower center', ncols=3, frameon=False)
    figure.draw_without_rendering()
    _label(axes, points, [network for network, _ in shown])
    return figure


def _style(axes: Axes, comparison: Comparison, first: Measurement) -> None:
    """The title, the axes and the grid."""
    axes.margins(x=0.12, y=0.1)
    axes.set_title(
        f'{first.runtime}, {first.batch_size} image{"s" if first.batch_size > 1 else ""} per call\n'
        f'{comparison.environment["device"]}',
        fontsize=10,
    )
    axes.set_xlabel('milliseconds per call (median, logarithmic)')
    axes.set_ylabel('published top-1 on ImageNet-1k (%)' if comparison.metric == 'top-1' else 'published COCO box AP')
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)


def _label(axes: Axes, points: Sequence[tuple[float, float]], networks: Sequence[Network]) -> None:
    """Write the names next to the points, each at the first place that is free, or else at the last place."""
    places = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in places]
    frame = axes.get_window_extent()
    for point, network in sorted(zip(points, networks), key=lambda pair: (not pair[1].ours, pair[0])):
        for x, y, horizontal, vertical in PLACES:
            label: Annotation = axes.annotate(
                network.title,
                point,
                (x, y),
                textcoords='offset points',
                ha=horizontal,
                va=vertical,
                fontsize=8.5,
                color=OURS if network.ours else OTHERS,
                weight='bold' if network.ours else 'normal',
            )
            box = label.get_window_extent()
            if box.count_overlaps(taken) == 0 and frame.x0 < box.x0 and box.x1 < frame.x1:
                break
            label.set_visible(False)
        label.set_visible(True)
        taken.append(box)
