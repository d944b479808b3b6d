"""The pages in configs/ agree with the metafiles."""

import re

import pytest
from modelindex import load

from ..helpers import ROOT

CONFIGS = ROOT / 'configs'
FOLDERS = sorted(path.parent.name for path in CONFIGS.glob('*/metafile.yml'))
# The metric of the metafile in each column with results.
METRICS = {
    'AP': r'box AP( \(mean of \d seeds\))?',
    'AP, from scratch': r'box AP \(from scratch, mean of \d seeds\)',
    'AP, pre-trained': r'box AP \(pre-trained on shapes, mean of \d seeds\)',
    "AP (the paper's)": r"box AP \(the paper's\)",
    'AP50 (11 points)': r'box AP50 \(11 points\)',
    'mask AP': 'mask AP',
    'top-1': 'Top 1 Accuracy',
    "top-1 (the paper's)": r"Top 1 Accuracy \(the paper's\)",
}


def rows_of(page):
    """The rows of all tables of configs in a page, each as a dict by the names of its columns."""
    rows, columns = [], None
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')] if line.startswith('|') else None
        if cells is None or columns is None:
            columns = cells
        elif columns[0] == 'config' and set(line) != set('|-'):
            rows.append(dict(zip(columns, cells, strict=True)))
    return rows


def metrics_of(entry):
    return {name: value for result in entry.results or () for name, value in result.metrics.items()}


def expected_cells(entry, columns):
    """The cells that a table must have for an entry of a metafile. The page may add standard deviations to results."""
    data, metrics = entry.metadata.data, metrics_of(entry)
    cells = {
        'epochs': str(entry.metadata.epochs),
        'parameters (M)': f'{entry.metadata.parameters / 1e6:.2f}',
        'multiply-adds (G)': f'{entry.metadata.flops / 1e9:.2f}',
        "GFLOPs (the paper's)": str(data.get("FLOPs (the paper's)", '-')),
    }
    for column, pattern in METRICS.items():
        values = [value for name, value in metrics.items() if re.fullmatch(pattern, name)]
        if not values:
            cells[column] = '-'
        else:
            (value,) = values
            cells[column] = f'{value} %' if column.startswith('top-1') else f'{value / 100:.3f}'
    return {column: cells[column] for column in columns if column in cells}


@pytest.mark.parametrize('folder', FOLDERS)
def test_tables_agree_with_the_metafile(folder):
    page = CONFIGS / folder / 'README.md'
    entries = {model.name: model for model in load(str(CONFIGS / folder / 'metafile.yml')).models}
    rows = rows_of(page)
    names = []
    for row in rows:
        name, path = re.fullmatch(r'\[(.*)\]\((.*)\)', row['config']).groups()
        names.append(name)
        assert (page.parent / path).resolve() == ROOT / entries[name].config
        found = {column: cell.partition(' ± ')[0] for column, cell in row.items()}
        expected = expected_cells(entries[name], row)
        assert {column: found[column] for column in expected} == expected, name
        assert {'parameters (M)', 'multiply-adds (G)'} < set(expected) and set(METRICS) & set(expected)
    assert sorted(names) == sorted(entries)


@pytest.mark.parametrize('folder', FOLDERS)
def test_tables_have_every_result_and_its_seeds(folder):
    entries = {model.name: model for model in load(str(CONFIGS / folder / 'metafile.yml')).models}
    for row in rows_of(CONFIGS / folder / 'README.md'):
        metrics = metrics_of(entries[re.match(r'\[(.*?)\]', row['config'])[1]])
        assert len(metrics) == sum(row.get(column, '-') != '-' for column in METRICS)
        for name in metrics:
            if "the paper's" not in name:
                count = re.search(r'mean of (\d) seeds', name)
                assert len(row['seeds'].split(', ')) == (int(count[1]) if count else 1)


def test_the_overview_lists_every_folder():
    listed = re.findall(r'^\| \[(\w+)\]\((\w+)/README\.md\)', (CONFIGS / 'README.md').read_text(), re.M)
    folders = [path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name != '__pycache__']
    assert sorted(listed) == sorted((folder, folder) for folder in folders)
    assert all((CONFIGS / folder / 'README.md').is_file() for folder in folders)
