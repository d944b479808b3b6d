"""The pages: their commands, paths, links, tables, quoted outputs and Python blocks."""

import ast
import importlib.util
import itertools
import pkgutil
import re
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import modelindex
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

from econvnext_mmdet import EConvNeXt, OfficialCocoMetric
from econvnext_mmdet.benchmarks.coco_engines import comparison_table
from econvnext_mmdet.datasets.checks import check_num_classes
from econvnext_mmdet.datasets.converters.common import ConversionSummary, report
from econvnext_mmdet.datasets.inspection import Finding, Inspection
from econvnext_mmdet.evaluation.coco_stats import COCO_STATS, PRECISION_STATS
from econvnext_mmdet.evaluation.tables import class_table, coco_table, stats_table
from econvnext_mmdet.reports.trainings import trainings_table

from ..helpers import ROOT, page_block

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ('README.md', 'CONTRIBUTING.md', 'docs/*.md', 'configs/**/README.md')
    for path in ROOT.glob(pattern)
)
# Configs that the reader writes.
READERS_OWN = {'configs/mine.py', 'configs/own.py'}
# Commands that are not tools of this project.
OTHER_COMMANDS = {'pip', 'apt-get', 'source', '.venv/bin/pre-commit', 'mkdir', 'cp', 'ls', 'xargs', 'tee'}
LAUNCHERS = {
    'tools/dist_train.sh': ('tools/train.py', lambda config, gpus, *rest: (config, *rest)),
    'tools/dist_test.sh': ('tools/test.py', lambda config, checkpoint, gpus, *rest: (config, checkpoint, *rest)),
    'tools/slurm_train.sh': (
        'tools/train.py',
        lambda partition, job, config, work_dir, *rest: (config, '--work-dir', work_dir, *rest),
    ),
}
# Prints each command of a block instead of running it. The PATH has no programs, and a restricted shell does not run a
# program by its path.
RECORDER = """
record() {{ printf '%s\\x1f' "$@"; printf '\\x1e'; }}
command_not_found_handle() {{ record "$@"; }}
{functions}
"""


class Fence(NamedTuple):
    """A fenced code block."""

    language: str
    text: str


def text_of(page):
    return (ROOT / page).read_text(encoding='utf-8')


def fences(page):
    found = re.findall(r'^( *)```(\w*)\n(.*?)^\1```$', text_of(page), re.S | re.M)
    return [Fence(language, textwrap.dedent(text)) for _, language, text in found]


def blocks(page, language):
    return [fence.text for fence in fences(page) if fence.language == language]


def prose(page):
    """A page without its code blocks."""
    return re.sub(r'^( *)```.*?^\1```$', '', text_of(page), flags=re.S | re.M)


def code_spans(page):
    return re.findall(r'`([^`\n]+)`', prose(page))


def commands(block):
    """The commands that bash would run for a block, with loops, variables and braces expanded."""
    functions = '\n'.join(
        f'{name}() {{ record {name} "$@"; }}'
        for name in (*LAUNCHERS, *OTHER_COMMANDS)
        if '/' in name or name == 'source'
    )
    done = subprocess.run(
        ['/bin/bash', '-r', '-c', RECORDER.format(functions=functions) + block],
        cwd=ROOT,
        env={'PATH': '/nonexistent'},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, ''), block
    return [command.split('\x1f')[:-1] for command in done.stdout.split('\x1e')[:-1]]


def parse(tool, args, monkeypatch):
    """Parse the arguments of a tool. The test fails if the tool does not have an option."""
    spec = importlib.util.spec_from_file_location('tool', ROOT / tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [tool, *args])
    try:
        module.parse_args()
    except SystemExit as end:
        assert end.code == 0, f'{tool} does not accept {args}'


def braces(text):
    """Expand {a,b} as bash does."""
    match = re.search(r'\{([^{}]*,[^{}]*)\}', text)
    if match is None:
        return [text]
    return [
        expanded
        for part in match[1].split(',')
        for expanded in braces(text[: match.start()] + part + text[match.end() :])
    ]


def exists(path, folders=('',)):
    """Whether a path exists in at least one of the folders. Words in capitals, such as ARCH, stand for anything."""
    if any((ROOT / folder / path).exists() for folder in folders):
        return True
    pattern = re.sub(r'[A-Z]{3,}', '*', path)
    return '*' in pattern and any(any((ROOT / folder).glob(pattern)) for folder in folders)


def slugs(page):
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r'^#+ (.*)$', prose(page), re.M)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


def tables(page):
    """The tables of a page: for each one its rows, as dicts from the header to the cells."""
    found = []
    for is_table, lines in itertools.groupby(prose(page).splitlines(), key=lambda line: line.startswith('|')):
        if is_table:
            header, _, *rows = ([cell.strip() for cell in line.strip('|').split('|')] for line in lines)
            found.append([dict(zip(header, row)) for row in rows])
    return found


def table(page, column):
    """The only table of a page that has the given column."""
    (rows,) = (rows for rows in tables(page) if column in rows[0])
    return rows


def entries():
    return {model.name: model for model in modelindex.load(str(ROOT / 'model-index.yml')).models}


def numbers(line):
    """The decimal numbers of a line that stand between spaces. '-' becomes COCO's -1."""
    return [-1.0 if cell == '-' else float(cell) for cell in re.findall(r'(?<=\s)(?:-|\d+\.\d+)(?=\s|$)', line)]


@pytest.mark.parametrize('page', PAGES)
def test_every_code_block_has_a_language(page):
    assert {fence.language for fence in fences(page)} <= {'bash', 'text', 'python', 'json', 'bibtex'}
    assert text_of(page).count('```') == 2 * len(fences(page))


@pytest.mark.parametrize('page', PAGES)
def test_commands_have_tools_options_and_configs_that_exist(page, monkeypatch):
    targets = set(re.findall(r'^([\w-]+):', text_of('Makefile'), re.M))
    for block in blocks(page, 'bash'):
        for name, *args in commands(block):
            if name in LAUNCHERS:
                assert (ROOT / name).is_file()
                tool, arguments = LAUNCHERS[name]
                parse(tool, arguments(*args), monkeypatch)
            elif name == 'make':
                assert {arg for arg in args if '=' not in arg} <= targets, args
            elif name == 'python' and args[0] == '-c':
                ast.parse(args[1])
            elif name == 'python':
                assert (ROOT / args[0]).is_file(), args[0]
                parse(args[0], args[1:], monkeypatch)
            else:
                assert name in OTHER_COMMANDS, name
            for arg in args:
                assert not arg.startswith('configs/') or arg in READERS_OWN or (ROOT / arg).is_file(), arg


@pytest.mark.parametrize('page', PAGES)
def test_paths_in_the_text_exist(page):
    for word in (word for span in code_spans(page) for word in span.split()):
        if word in READERS_OWN or word.startswith('data/'):
            continue
        for path in braces(word):
            if re.match('(tools|configs|tests|docs|requirements|econvnext_mmdet)/', path):
                assert exists(path) or path.startswith('econvnext_mmdet/.mim'), path
            elif re.search(r'\w\.(py|sh)$', path):
                configs = [str(folder.relative_to(ROOT)) for folder in ROOT.glob('configs/*/')]
                assert exists(path, ('', 'configs', 'econvnext_mmdet', *configs)), path


@pytest.mark.parametrize('page', PAGES)
def test_make_targets_and_modules_in_the_text_exist(page):
    targets = set(re.findall(r'^([\w-]+):', text_of('Makefile'), re.M))
    for span in code_spans(page):
        if span.startswith('make '):
            assert span.split()[1] in targets, span
        module = re.match(r'econvnext_mmdet(\.\w+)+', span)
        if module:
            pkgutil.resolve_name(module[0])


@pytest.mark.parametrize('page', [*PAGES, 'CHANGELOG.md'])
def test_links_and_anchors_resolve(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
        if re.match('https?:', target):
            continue
        path, _, anchor = target.partition('#')
        linked = (ROOT / page).parent / path if path else ROOT / page
        assert linked.exists(), target
        if anchor:
            assert anchor in slugs(linked.resolve().relative_to(ROOT)), target


@pytest.mark.parametrize('page', PAGES)
def test_images_have_alternative_text(page):
    assert all(len(text.split()) > 3 for text in re.findall(r'!\[([^\]]*)\]\(', prose(page)))


def test_the_readme_is_short():
    readme = (ROOT / 'README.md').read_bytes()
    assert len(readme.splitlines()) <= 200 and len(readme) <= 12_000


@pytest.mark.parametrize('index', ['README.md', 'docs/README.md'])
def test_every_page_is_linked_from_the_indexes(index):
    pages = {path.name for path in (ROOT / 'docs').glob('*.md')} - {'README.md'}
    assert pages <= {Path(target).name for target in re.findall(r'\]\(([^)\s#]+)\)', prose(index))}


def test_every_image_is_used():
    used = {Path(target).name for page in PAGES for target in re.findall(r'!\[[^\]]*\]\((.*?)\)', prose(page))}
    assert used == {path.name for path in (ROOT / 'docs' / 'images').iterdir()}


def test_the_changelog_names_what_exists():
    modules, functions, tools, configs = (rows for rows in tables('CHANGELOG.md') if set(rows[0]) == {'old', 'new'})
    for row in (*modules, *functions):
        for name in re.findall('`([A-Za-z_0-9.]+)`', row['new']):
            pkgutil.resolve_name(f'econvnext_mmdet.{name}')
    for row in (*tools, *configs):
        for path in re.findall('`([^`]+)`', row['new']):
            assert exists(path, ('', 'configs')), path
        for path in re.findall('`([^`]+)`', row['old']):
            assert 'the same name' in row['new'] or not exists(path, ('', 'configs')), path


# Tables


def test_the_counts_of_the_three_networks_agree_with_the_models():
    for row in table('README.md', 'parameters of the backbone'):
        arch = row['network'].rpartition('-')[2]
        with torch.device('meta'):
            backbone = EConvNeXt(arch, norm_output=False)
        assert row['parameters of the backbone'] == f'{sum(param.numel() for param in backbone.parameters()):,}'
        entry = entries()[f'e-convnext-{arch}_16xb64_in1k']
        assert row['parameters with the 1000-class head'] == f'{entry.metadata.parameters:,}'
        assert row['GMACs at 224 x 224'] == f'{entry.metadata.flops / 1e9:.3f}'
        assert float(row['ImageNet top-1 in the paper']) == entry.results[0].metrics["Top 1 Accuracy (the paper's)"]


def test_the_ap_on_shapes_in_the_readme_agrees_with_the_metafiles():
    found = entries()
    rows = iter(table('README.md', 'detector and backbone'))
    for name, metric in (
        ('retinanet_e-convnext-mini_fpn-96_9e_shapes', 'box AP'),
        ('mask-rcnn_e-convnext-mini_fpn-96_6e_shapes', 'box AP'),
        ('mask-rcnn_e-convnext-mini_fpn-96_6e_shapes', 'mask AP'),
    ):
        metrics = {key: value for result in found[name].results for key, value in result.metrics.items()}
        assert next(rows)['AP'] == f'{metrics[metric] / 100:.3f}'


def test_the_comparison_of_detectors_agrees_with_the_metafiles():
    found = entries()
    for row in table('docs/results.md', 'GFLOPs (paper)'):
        entry = found[row['config'].strip('`')]
        data, metrics = entry.metadata.data, entry.results[0].metrics
        assert (row['data'], row['detector'], row['backbone']) == (
            data['Training Data'],
            data['Detector'],
            data['Backbone'],
        )
        assert row['parameters (M)'] == f'{entry.metadata.parameters / 1e6:.2f}'
        assert row['input'] == '{} x {}'.format(*data['Input Size'])
        assert row['GFLOPs'] == f'{2 * entry.metadata.flops / 1e9:.2f}'
        if row['AP'] == 'not trained':
            paper_ap = metrics["box AP (the paper's)"]
            assert f'{paper_ap / 100:.3f}' == row['AP (paper)']
            assert str(data["FLOPs (the paper's)"]) == row['GFLOPs (paper)']
        else:
            (ap,) = metrics.values()
            assert f'{ap / 100:.3f}' == row['AP'].split()[0]


def test_the_table_of_transfer_agrees_with_the_metafiles():
    found = entries()
    rows = [rows for rows in tables('docs/results.md') if 'starts from' in rows[0] and 'data' not in rows[0]][0]
    for row in rows:
        start = 'from scratch' if row['starts from'] == 'scratch' else 'pre-trained on shapes'
        metrics = found[row['config'].strip('`')].results[0].metrics
        assert f'{metrics[f"box AP ({start}, mean of 3 seeds)"] / 100:.3f}' == row['AP'].split()[0]


# Quoted outputs


@pytest.mark.parametrize('page', PAGES)
def test_quoted_coco_tables_have_the_format_of_the_tools(page):
    for block in blocks(page, 'text'):
        if 'COCO evaluation' in block:
            quote = block.partition('COCO evaluation\n')[2].rstrip('\n')
            metrics = {
                f'coco/{line.split()[0]}_{COCO_STATS[name].mmdet_name}': value
                for line in quote.splitlines()[1:]
                for name, value in zip(PRECISION_STATS, numbers(line), strict=True)
            }
            assert coco_table(metrics) == quote


def test_the_quoted_evaluation_has_the_format_of_eval_coco():
    (quote,) = (block for block in blocks('docs/evaluate.md', 'text') if 'bbox by class' in block)
    stats, classes, _ = quote.split('\n\n')
    columns = dict(zip(('bbox', 'segm'), zip(*(numbers(line)[-2:] for line in stats.splitlines()[1:]))))
    assert stats_table({name: dict(zip(COCO_STATS, column)) for name, column in columns.items()}) == stats
    title, header, *lines = classes.splitlines()
    names = header.split()[2:]
    rows = [dict(zip(names, numbers(line)), name=line.split()[0], objects=int(line.split()[1])) for line in lines]
    assert title == 'bbox by class' and class_table(rows) == '\n'.join([header, *lines])


def test_the_quoted_inspection_has_the_format_of_check_dataset():
    (quote,) = (block for block in blocks('docs/own_data.md', 'text') if block.startswith('train: '))
    counts = re.findall(r'^(\w+) +\d+ +(\d+) +(\d+) +(\d+)$', quote, re.M)
    inspection = Inspection(
        'train',
        'data/shapes/annotations/train.json',
        images=800,
        widths=(288, 288),
        heights=(288, 288),
        classes={name: dict(zip(('small', 'medium', 'large'), map(int, sizes))) for name, *sizes in counts},
        findings=[Finding('warning', 'images without boxes', 1, ['000705.jpg'])],
    )
    assert str(inspection) == quote.rstrip('\n')


def test_the_quoted_conversion_has_the_format_of_the_converters(capsys):
    (quote,) = (block for block in blocks('docs/converters.md', 'text'))
    summary = ConversionSummary(
        images=2,
        objects=Counter(cat=1, dog=2),
        dropped=['c: no image file c.*'],
        clipped=['b: object 2 (dog) (5.0, 5.0, 700.0, 90.0)'],
    )
    summary.notes['annotated at another size, scaled to that of the image'].append('a.jpg')
    report({'data/mine/annotations/train.json': summary}, allow_dropped=False)
    assert capsys.readouterr().out == quote


def test_the_quoted_benchmark_has_the_format_of_the_tool():
    (quote,) = (block for block in blocks('docs/evaluate.md', 'text') if 'ratio' in block)
    engines, *lines, _ = quote.splitlines()
    columns = zip(*(numbers(line)[:2] for line in lines))
    ap = float(re.search(r'AP ([\d.]+);', quote)[1])
    measured = {
        name: dict(zip(('engine', 'total', 'memory'), column), stats=dict(AP=ap))
        for name, column in zip(engines.split(), columns)
    }
    assert comparison_table(measured) == quote.rstrip('\n')


def test_the_comparison_of_detectors_has_the_format_of_the_tool():
    for row in table('docs/results.md', 'GFLOPs (paper)'):
        untrained = row['AP'] == 'not trained'

        def metric(name, row=row):
            mean, _, std = row[name].partition(' ± ')
            return dict(mean=float(mean), std=float(std) if std else None)

        values = dict(
            data=row['data'],
            detector=row['detector'],
            backbone=row['backbone'],
            start='' if row['starts from'] in ('scratch', '-') else row['starts from'],
            epochs=None if untrained else int(row['epochs']),
            seeds=None if untrained else list(map(int, row['seeds'].split(', '))),
            input=list(map(int, row['input'].split(' x '))),
            params=float(row['parameters (M)']) * 1e6,
            gflops=float(row['GFLOPs']),
            paper_gflops=None if row['GFLOPs (paper)'] == '-' else row['GFLOPs (paper)'],
            AP=None if untrained else metric('AP'),
            paper_AP=None if row['AP (paper)'] == '-' else float(row['AP (paper)']),
            AP50=None if untrained else metric('AP50'),
            latency=float(row['latency (ms)']),
            minutes=None if untrained else float(row['minutes']),
            config=row['config'].strip('`'),
            device='CPU, AMD EPYC, 1 thread',
        )
        for line in trainings_table([values]).splitlines():
            assert line in text_of('docs/results.md').splitlines(), line


def test_the_quoted_message_of_infer_is_in_the_source():
    (quote,) = (block for block in blocks('docs/inference.md', 'text') if 'incomplete' in block)
    file, _, reason = quote.splitlines()[-1].strip().partition(' is not a readable image: ')
    assert file == 'README.md' and reason in text_of('econvnext_mmdet/inference/inferencer.py')


# Python blocks


@pytest.mark.parametrize('page', PAGES)
def test_python_blocks_can_be_parsed_and_their_imports_work(page):
    for block in blocks(page, 'python'):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                assert all(pkgutil.resolve_name(f'{node.module}:{alias.name}') for alias in node.names)
            elif isinstance(node, ast.Import):
                assert all(pkgutil.resolve_name(alias.name) for alias in node.names)


def config_of(tmp_path, text):
    (tmp_path / 'mine.py').write_text(text.replace("_base_ = '", f"_base_ = '{ROOT}/configs/"))
    return Config.fromfile(tmp_path / 'mine.py')


BASES = re.findall(r'^\| .*? \| `([\w/.-]+\.py)` \|', text_of('docs/own_data.md'), re.M)


def test_the_page_on_your_own_data_lists_the_base_configs():
    assert len(BASES) == len(set(BASES)) == 7


@pytest.mark.parametrize('base', BASES)
def test_every_base_fits_the_config_for_your_own_data(base, tmp_path):
    """The page has a different line for the model of Mask R-CNN."""
    text = re.sub("_base_ = '.*'", f"_base_ = '{base}'", page_block('docs/own_data.md', 'data/mine/'))
    if 'mask' in base:
        (model,) = (span for span in code_spans('docs/own_data.md') if span.startswith('model = dict(roi_head'))
        text = re.sub(r'model = .*', model, text)
    cfg = config_of(tmp_path, text)
    check_num_classes(cfg.model, cfg.train_dataloader.dataset.metainfo.classes)
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.data_root == 'data/mine/'
        assert split == 'train' or cfg[f'{split}_evaluator'].ann_file == dataset.data_root + dataset.ann_file


@pytest.mark.parametrize('base', BASES)
def test_the_lines_for_a_test_set_replace_those_of_the_config(base, tmp_path):
    text = re.sub("_base_ = '.*'", f"_base_ = '{base}'", page_block('docs/own_data.md', 'data/mine/'))
    text = re.sub('^test_.*$', '', text, flags=re.M) + page_block('docs/own_data.md', 'annotations/test.json')
    cfg = config_of(tmp_path, text)
    dataset = cfg.test_dataloader.dataset
    assert cfg.test_evaluator.ann_file == 'data/mine/annotations/test.json' == dataset.data_root + dataset.ann_file
    assert cfg.val_evaluator.ann_file == 'data/mine/annotations/val.json'


@pytest.mark.parametrize('base', BASES)
def test_the_lines_for_the_size_of_the_images_work(base, tmp_path):
    """In the 36-epoch configs, which stretch the images, Resize has a different index. The page gives it."""
    text = re.sub("_base_ = '.*'", f"_base_ = '{base}'", page_block('docs/own_data.md', 'data/mine/'))
    lines = page_block('docs/own_data.md', 'test_pipeline')
    if '36e' in base:
        assert {'train_pipeline[2]', 'train_pipeline[5]'} <= set(code_spans('docs/own_data.md'))
        lines = lines.replace('train_pipeline[2]', 'train_pipeline[5]')
    cfg = config_of(tmp_path, text + lines)
    for split in ('train', 'val', 'test'):
        (resize,) = (step for step in cfg[f'{split}_dataloader'].dataset.pipeline if step.type == 'Resize')
        assert tuple(resize.scale) == (640, 480) and resize.get('keep_ratio', False) == ('36e' not in base)


@pytest.mark.parametrize('base', BASES)
def test_the_lines_for_the_number_of_epochs_work(base, tmp_path):
    text = re.sub("_base_ = '.*'", f"_base_ = '{base}'", page_block('docs/own_data.md', 'data/mine/'))
    lines = page_block('docs/own_data.md', 'max_epochs = 20')
    if 'bccd' in base:
        (train_cfg,) = (span for span in code_spans('docs/own_data.md') if span.startswith('train_cfg = '))
        lines = re.sub(r'train_cfg = .*', train_cfg, lines)
    elif '1x' in base:
        assert 'milestones=[14, 18]' in code_spans('docs/own_data.md')
        lines = lines.replace('end=max_epochs)', 'end=max_epochs, milestones=[14, 18])')
    cfg = config_of(tmp_path, text + lines)
    warm_up, schedule = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == schedule.end == 20 and not warm_up.by_epoch
    assert schedule.by_epoch and (schedule.type == 'MultiStepLR') == ('1x' in base)
    assert 20 % cfg.train_cfg.get('val_interval', 1) == 0  # the last epoch is evaluated


@pytest.mark.parametrize('base', [base for base in BASES if 'bccd' in base])
def test_the_line_that_turns_off_vertical_flips_works(base, tmp_path):
    text = re.sub("_base_ = '.*'", f"_base_ = '{base}'", page_block('docs/own_data.md', 'data/mine/'))
    (line,) = (span for span in code_spans('docs/own_data.md') if 'direction' in span)
    lines = page_block('docs/own_data.md', 'test_pipeline').splitlines()
    cfg = config_of(tmp_path, text + '\n'.join([*lines[:2], line, *lines[2:]]))
    (flip,) = (step for step in cfg.train_dataloader.dataset.pipeline if step.type == 'RandomFlip')
    assert (flip.prob, flip.direction) == (0.5, 'horizontal')


@pytest.mark.parametrize('base', [base for base in BASES if '36e' in base])
def test_the_line_that_turns_off_random_sizes_works(base, tmp_path):
    (model,) = (span for span in code_spans('docs/own_data.md') if 'batch_augments' in span)
    assert Config.fromfile(ROOT / 'configs' / base).model.data_preprocessor.batch_augments
    assert config_of(tmp_path, f"_base_ = '{base}'\n{model}\n").model.data_preprocessor.batch_augments is None


def test_the_block_for_the_metric_works(tmp_path):
    block = page_block('docs/evaluate.md', 'OfficialCocoMetric')
    cfg = config_of(tmp_path, f"_base_ = 'mask_rcnn/mask-rcnn_e-convnext-mini_fpn_1x_coco.py'\n{block}")
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.type == OfficialCocoMetric.__name__ and evaluator.metric == ['bbox', 'segm']


def test_the_blocks_for_fine_tuning_work(tmp_path):
    base = "_base_ = 'retinanet/retinanet_e-convnext-mini_fpn_1x_coco.py'\n"
    assert config_of(tmp_path, base + page_block('docs/finetune.md', 'frozen_stages')).model.backbone.norm_eval
    cfg = config_of(tmp_path, base + page_block('docs/finetune.md', 'constructor'))
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.8
    assert cfg.optim_wrapper.constructor in OPTIM_WRAPPER_CONSTRUCTORS
