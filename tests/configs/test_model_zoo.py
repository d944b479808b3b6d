"""model-index.yml and the metafiles, against the configs and what they build."""
import modelindex
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmpretrain import get_model, list_models
from mmpretrain.apis.model import ModelHub
from torch.utils.flop_counter import FlopCounterMode

from econvnext_mmdet.engine.run import load_config

from .conftest import ROOT

INDEX = str(ROOT / 'model-index.yml')
ENTRIES = {model.name: model for model in modelindex.load(INDEX).models}


def flops(function, *inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function(*inputs)
    return counter.get_total_flops() // 2


def count_without_data(model, shape):
    """Multiply-adds on shapes alone; of two-stage detectors by 1000 regions, or as many as are proposed at most."""
    image = torch.empty(1, 3, *shape)
    if not hasattr(model, 'roi_head'):
        return flops(lambda: model(image, mode='tensor'))
    head = model.roi_head
    total = flops(lambda: model.rpn_head(model.extract_feat(image)))
    for part, regions in (('bbox', model.test_cfg.rpn.max_per_img), ('mask', 100)):
        heads, extractors = getattr(head, f'{part}_head'), getattr(head, f'{part}_roi_extractor')
        for stage, extractor in zip(heads, extractors) if isinstance(heads, torch.nn.ModuleList) \
                else [(heads, extractors)]:
            size = extractor.roi_layers[0].output_size
            total += flops(stage, torch.empty(regions, extractor.out_channels, *size))
    return total


def test_every_config_is_listed_once():
    configs = [str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts]
    listed = [model.config for model in modelindex.load(INDEX).models]
    assert sorted(listed) == sorted(configs) and len(ENTRIES) == len(configs)
    assert not modelindex.load(INDEX).check(silent=True)


@pytest.mark.parametrize('name', sorted(ENTRIES))
def test_counts_are_those_of_the_built_model(name):
    entry = ENTRIES[name]
    cfg = load_config(str(ROOT / entry.config))
    init_default_scope(cfg.default_scope)
    with torch.device('cpu' if 'ConvNeXt' in cfg.model.backbone.type.split('.')[1:] else 'meta'):
        model = MODELS.build(cfg.model).eval().to('meta')  # MMPretrain's ConvNeXt is not built without memory
    with torch.device('meta'):
        assert count_without_data(model, entry.metadata.data['Input Size']) == entry.metadata.flops
    assert sum(param.numel() for param in model.parameters()) == entry.metadata.parameters
    assert entry.metadata.epochs == cfg.train_cfg.max_epochs


def test_there_are_weights_only_where_a_file_is():
    assert [name for name, model in ENTRIES.items() if model.weights] == []


def test_accuracies_on_data_that_is_not_here_are_marked_as_the_papers():
    for name, entry in ENTRIES.items():
        for result in entry.results or ():
            absent = result.dataset in ('ImageNet-1k', 'DUO', 'Sonar')
            assert absent == all("the paper's" in metric for metric in result.metrics), name


# The paper's table of transfer to detection: AP in per cent and GFLOPs, of data, detector and backbone.
PAPER = {
    ('Sonar', 'PP-YOLOE-S', 'CSPResNet'): (42.6, 17.4), ('Sonar', 'PP-YOLOE-S', 'E-ConvNeXt-mini'): (50.6, 20.56),
    ('Sonar', 'PP-YOLOE-L', 'CSPResNet'): (49.0, 110.7), ('Sonar', 'PP-YOLOE-L', 'E-ConvNeXt-tiny'): (51.3, 82.6),
    ('Sonar', 'YOLOv10-L', 'CSPDarknet'): (46.1, 120), ('Sonar', 'YOLOv10-M', 'ConvNeXt-tiny'): (50.1, 94.3),
    ('Sonar', 'YOLOv10-M', 'E-ConvNeXt-tiny'): (51.3, 69.9), ('DUO', 'YOLOv10-L', 'CSPDarknet'): (56.4, 120),
    ('DUO', 'YOLOv10-L', 'E-ConvNeXt-tiny'): (61.2, 78.0),
}


def test_every_row_of_the_papers_table_has_a_config():
    found = {}
    for entry in ENTRIES.values():
        data = entry.metadata.data
        if "FLOPs (the paper's)" in data:
            result, = entry.results
            found[data['Training Data'], data['Detector'], data['Backbone']] = (
                result.metrics["box AP (the paper's)"], data["FLOPs (the paper's)"])
    assert found == PAPER


def test_mmpretrain_finds_the_classifiers_by_name(monkeypatch):
    monkeypatch.setattr(ModelHub, '_models_dict', {})
    monkeypatch.setattr(ModelHub, '_ModelHub__mmpretrain_registered', True)  # leaves MMPretrain's own models out
    monkeypatch.chdir(ROOT)
    ModelHub.register_model_index('model-index.yml', config_prefix=ROOT)
    assert list_models('e-convnext-*_16xb64_in1k') == [
        f'e-convnext-{arch}_16xb64_in1k' for arch in ('mini', 'small', 'tiny')]
    with torch.device('meta'):
        model = get_model('e-convnext-mini_16xb64_in1k', pretrained=False)
    assert sum(param.numel() for param in model.parameters()) == 7_658_992
