import pytest
from mmengine.config import Config

from econvnext_mmdet.utils.config import datasets_of, evaluators_of, explain_user_errors, load_config, type_name
from econvnext_mmdet.utils.errors import UserError

from ..helpers import DEMO


def test_a_misspelt_option_is_an_error():
    with pytest.raises(UserError, match="no setting 'train_dataloder'; did you mean 'train_dataloader'"):
        load_config(DEMO, {'train_dataloder.batch_size': 1})
    assert load_config(DEMO, {'find_unused_parameters': True}).find_unused_parameters


def test_an_option_that_does_not_fit_is_an_error():
    with pytest.raises(UserError, match='--cfg-options does not fit'):
        load_config(DEMO, {'model.bbox_head.anchor_generator.strides.9': 1})


def test_a_broken_config_is_an_error(tmp_path):
    broken = tmp_path / 'broken.py'
    broken.write_text('model = dict(')
    with pytest.raises(UserError, match='cannot read the config'):
        load_config(str(broken))


def test_the_work_directory_comes_from_the_option_then_the_config_then_its_name(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text('model = dict()')
    assert load_config(str(path)).work_dir == 'work_dirs/mine'
    path.write_text("work_dir = 'here'")
    assert load_config(str(path)).work_dir == 'here'
    assert load_config(str(path), work_dir='there').work_dir == 'there'


def test_datasets_are_found_inside_wrappers():
    first, second = dict(type='CocoDataset', ann_file='a.json'), dict(type='CocoDataset', ann_file='b.json')
    both = dict(type='ConcatDataset', datasets=[first, dict(type='ClassBalancedDataset', dataset=second)])
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='MultiImageMixDataset', dataset=both))))
    assert [dataset.ann_file for dataset in datasets_of(cfg, 'train')] == ['a.json', 'b.json']
    assert datasets_of(cfg, 'val') == []


def test_evaluators_are_a_list_even_if_there_is_only_one():
    cfg = Config(dict(val_evaluator=dict(type='A'), test_evaluator=[dict(type='A'), dict(type='B')]))
    assert [evaluator.type for evaluator in evaluators_of(cfg, 'val')] == ['A']
    assert [evaluator.type for evaluator in evaluators_of(cfg, 'test')] == ['A', 'B']
    assert evaluators_of(cfg, 'train') == []


def test_the_type_name_has_no_scope_and_no_module():
    assert type_name(dict(type='mmpretrain.ConvNeXt')) == 'ConvNeXt'
    assert type_name(dict(type=Config)) == 'Config'


@pytest.mark.parametrize(
    'error, says',
    [
        (ValueError('in worker 0 ... failed to load image: a/b.jpg'), '^a/b.jpg is not a readable image'),
        (ValueError('`epoch_length` must be a positive integer'), 'fewer images than a batch'),
        (ValueError('Expected more than 1 value per channel when training'), 'batch of one image'),
        (
            TypeError("__init__() got an unexpected keyword argument 'size'"),
            "does not have: .* 'size'; correct the name",
        ),
        (KeyError('Net is not in the model registry'), 'not registered; check its name and custom_imports: Net is'),
    ],
)
def test_errors_of_the_libraries_are_explained(error, says):
    with pytest.raises(UserError, match=says) as caught, explain_user_errors():
        raise error
    assert caught.value.__cause__ is error


def test_other_errors_pass_unchanged():
    with pytest.raises(ZeroDivisionError), explain_user_errors():
        1 / 0  # noqa: B018


def test_modules_that_an_option_names_are_imported():
    with pytest.raises(UserError, match='custom_imports failed: ImportError: .*no_such_module'):
        load_config(DEMO, {'custom_imports': dict(imports=['no_such_module'])})
