import json
import os
from pathlib import Path

import pytest
from PIL import Image

from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.utils.files import (
    check_extension,
    check_writable,
    load_json,
    number_of_pages,
    parse_yaml,
    whole_file,
    whole_folder,
    write_json,
)
from econvnext_mmdet.utils.pixels import PIXELS_VARIABLE, drop_wrong_limit


def test_json_is_read_back(tmp_path):
    write_json(str(tmp_path / 'new' / 'numbers.json'), {'a': [1.5, None]})
    assert load_json(str(tmp_path / 'new' / 'numbers.json'), dict) == {'a': [1.5, None]}
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['numbers.json']


@pytest.mark.parametrize(
    'content, kind, says',
    [
        ('{', dict, 'cannot read .*x.json as JSON'),
        ('[]', dict, 'expected an annotation file: an object with images, annotations and categories'),
        ('{}', list, 'expected a results file: a list with one entry per detection'),
        ('[' * 100000, list, 'nested too deep'),
        (f'[1{"0" * 400}]', list, 'it has a number of 401 digits'),
        ('{"images": [], "images": [1]}', dict, "an object in it has the name 'images' twice"),
    ],
)
def test_wrong_json_is_an_error(tmp_path, content, kind, says):
    (tmp_path / 'x.json').write_text(content)
    with pytest.raises(UserError, match=says):
        load_json(str(tmp_path / 'x.json'), kind)


def test_yaml_is_read_unless_it_hides_more_than_it_holds():
    assert parse_yaml('a: &a [1, 2]\nb: [*a, *a]') == {'a': [1, 2], 'b': [[1, 2], [1, 2]]}
    levels = [f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]' for n in range(1, 10)]
    for bomb in ('\n'.join(['a0: &a0 [0]', *levels]), 'a: &a [*a]'):
        with pytest.raises(ValueError, match='repeat parts until it has more than 10000000 values'):
            parse_yaml(bomb)
    for wrong, says in (
        ('a: [', 'node content'),
        ('[' * 100000, 'too deep'),
        ('- ' * 100000, 'too deep'),
        ('2020-99-99', 'month'),
        ('names: [cat]\nnames: [dog]', "a mapping has the key 'names' twice"),
        ('- 0: {a: 1, b: 2, a: 1}', "a mapping has the key 'a' twice"),
    ):
        with pytest.raises(ValueError, match=says):
            parse_yaml(wrong)


def test_a_merged_key_may_be_overwritten():
    """In YAML, << adds the keys of another mapping, and those beside it count."""
    text = 'a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: {<<: *a, y: 3}'
    assert parse_yaml(text) == {'a': {'x': 1}, 'b': {'x': 2}, 'c': {'x': 1, 'y': 3}}


def test_numbers_and_words_may_be_kept_as_texts():
    text = '[12:30:45, 0x10, 010, .inf, no, 2020-01-01, "5", ~]'
    assert parse_yaml(text, as_text=True) == ['12:30:45', '0x10', '010', '.inf', 'no', '2020-01-01', '5', '~']
    assert parse_yaml('', as_text=True) is None


def test_pages_are_those_of_a_document_and_not_the_copies_in_a_photograph(tmp_path):
    page = Image.new('RGB', (8, 8))
    for name, options in (('a.tif', {}), ('b.tif', dict(append_images=[page, page])), ('c.mpo', {})):
        page.save(tmp_path / name, save_all=True, **options)
    (tmp_path / 'd.jpg').write_bytes(b'')
    assert [number_of_pages(tmp_path / name) for name in ('a.tif', 'b.tif', 'c.mpo', 'd.jpg')] == [1, 3, 1, 1]


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-32'])
def test_json_is_read_in_the_encodings_that_editors_write(tmp_path, encoding):
    (tmp_path / 'x.json').write_text('{"name": "扇贝"}', encoding=encoding)
    assert load_json(str(tmp_path / 'x.json'), dict) == {'name': '扇贝'}


def test_a_file_is_replaced_completely_or_not_at_all(tmp_path):
    (tmp_path / 'a.txt').write_text('before')
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / 'a.txt') as part:
        part.write_text('half')
        1 / 0  # noqa: B018
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('a.txt', 'before')]
    with whole_file(tmp_path / 'a.txt') as part:
        part.write_text('after')
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('a.txt', 'after')]


def test_a_pipe_is_neither_replaced_by_a_file_nor_read(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(UserError, match='pipe is a device or a pipe; give the name of a file'):
        write_json(str(tmp_path / 'pipe'), [])
    with pytest.raises(UserError, match='pipe is a device or a pipe; give the name of a file'):
        load_json(str(tmp_path / 'pipe'), dict)
    assert (tmp_path / 'pipe').is_fifo() and [path.name for path in tmp_path.iterdir()] == ['pipe']
    with pytest.raises(IsADirectoryError):
        write_json(str(tmp_path), [])


@pytest.mark.parametrize('value', ['abc', '1MB', '-5', '0', '', '1' + '0' * 19])
def test_a_limit_of_pixels_that_is_no_number_is_dropped(value, monkeypatch):
    """OpenCV aborts a process that imports it with most of them."""
    monkeypatch.setenv(PIXELS_VARIABLE, value)
    with pytest.warns(UserWarning, match=f'{PIXELS_VARIABLE} is not used: expected a number of pixels'):
        drop_wrong_limit()
    assert PIXELS_VARIABLE not in os.environ
    monkeypatch.setenv(PIXELS_VARIABLE, '5000')
    drop_wrong_limit()
    assert os.environ[PIXELS_VARIABLE] == '5000'


def test_a_folder_is_written_completely_or_not_at_all(tmp_path):
    target = tmp_path / 'new' / 'folder'
    with pytest.raises(ZeroDivisionError), whole_folder(str(target)) as whole:
        (whole / 'a.json').write_text('half')
        1 / 0  # noqa: B018
    assert not list((tmp_path / 'new').iterdir())
    with whole_folder(str(target)) as whole:
        (whole / 'a.json').write_text(json.dumps([1]))
        assert not target.exists()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['folder'] and (target / 'a.json').is_file()
    with (
        pytest.raises(UserError, match='folder exists already. Remove it or choose another'),
        whole_folder(str(target)),
    ):
        pytest.fail('the block runs')


def test_a_wrong_file_extension_is_an_error():
    check_extension('a.b/picture.jpg', ('.jpg', '.png'), '--picture')
    with pytest.raises(UserError, match='expected the file extension .jpg or .png for --picture; got a.gif'):
        check_extension('a.gif', ('.jpg', '.png'), '--picture')


def test_a_check_survives_another_process_that_removes_its_temporary_file(tmp_path, monkeypatch):
    touch = Path.touch

    def touched_and_removed(path):
        touch(path)
        path.unlink()  # as another process does between the two steps of this one

    monkeypatch.setattr(Path, 'touch', touched_and_removed)
    check_writable(str(tmp_path / 'a.pkl'))
    assert not list(tmp_path.iterdir())
