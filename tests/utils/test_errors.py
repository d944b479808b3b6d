import pytest

from econvnext_mmdet.utils.errors import UserError, errors_in, examples


def test_only_user_errors_name_the_place():
    with pytest.raises(UserError, match='^a.json: no images$') as caught, errors_in('a.json'):
        raise UserError('no images')
    assert caught.value.__suppress_context__
    with pytest.raises(KeyError, match='^.x.$'), errors_in('a.json'):
        raise KeyError('x')


def test_a_message_has_the_lines_that_it_is_given_and_shows_other_breaks():
    error = UserError('no image a\nb\x1b[2J\u2028\udcff.jpg in 中文', 'remove it')
    assert str(error) == 'no image a\\nb\\x1b[2J\\u2028\\udcff.jpg in 中文\nremove it'
    with pytest.raises(UserError) as caught, errors_in('f\n'):
        raise error
    assert str(caught.value) == f'f\\n: {error}'


def test_dots_stand_for_more_examples():
    assert examples(['a', 'b']) == 'a, b'
    assert examples(['a', 'b', 'c', 'd']) == 'a, b, c, ...'
    assert examples(['a', 'b'], most=1) == 'a, ...'
