import pytest

from econvnext_mmdet.utils.errors import UserError, errors_in, examples


def test_only_user_errors_name_the_place():
    with pytest.raises(UserError, match='^a.json: no images$') as caught, errors_in('a.json'):
        raise UserError('no images')
    assert caught.value.__suppress_context__
    with pytest.raises(KeyError, match='^.x.$'), errors_in('a.json'):
        raise KeyError('x')


def test_dots_stand_for_more_examples():
    assert examples(['a', 'b']) == 'a, b'
    assert examples(['a', 'b', 'c', 'd']) == 'a, b, c, ...'
    assert examples(['a', 'b'], most=1) == 'a, ...'
