from unicodedata import normalize

import pytest
from mmdet.datasets import CocoDataset

from econvnext_mmdet.datasets.dataset_files import (
    OTHER_FORM,
    check_images,
    classes_of,
    find_absent,
    is_local,
    paths_of,
    read_annotations,
    registered_type,
)
from econvnext_mmdet.utils.errors import UserError


def test_type_is_a_name_or_a_class():
    assert registered_type(dict(type='CocoDataset')) is registered_type(dict(type=CocoDataset)) is CocoDataset
    assert registered_type(dict(type='NoSuchDataset')) is None


@pytest.mark.parametrize(
    'change, expected',
    [
        ({}, True),
        (dict(type=CocoDataset), True),
        (dict(backend_args=dict(backend='local')), True),
        (dict(type='NoSuchDataset'), False),
        (dict(type='VOCDataset'), True),
        (dict(type='VOCDataset', data_root='s3://bucket/'), False),
        (dict(type='WIDERFaceDataset'), False),
        (dict(type='LVISV1Dataset'), False),
        (dict(type='CocoPanopticDataset'), False),
        (dict(ann_file='s3://bucket/train.json'), False),
        (dict(data_root='s3://bucket/'), False),
        (dict(backend_args=dict(backend='petrel')), False),
    ],
)
def test_only_local_files_in_cocos_or_vocs_own_format_are_local(change, expected):
    assert is_local({**dict(type='CocoDataset', ann_file='train.json'), **change}) == expected


def test_paths_start_from_data_root():
    dataset = dict(type='CocoDataset', data_root='data/', ann_file='train.json', data_prefix=dict(img='train/'))
    assert paths_of(dataset) == ('data/train.json', 'data/train/')
    assert paths_of({**dataset, 'data_root': None}) == ('train.json', 'train/')
    assert paths_of(dict(type='CocoDataset', data_root='data/', ann_file='/other/train.json')) == (
        '/other/train.json',
        'data/',
    )
    dataset = dict(type='VOCDataset', data_root='data/', ann_file='train.txt', data_prefix=dict(sub_data_root='2007/'))
    assert paths_of(dataset) == ('data/train.txt', 'data/2007/JPEGImages')
    assert paths_of({**dataset, 'img_subdir': 'photos'}) == ('data/train.txt', 'data/2007/photos')


def test_classes_come_from_metainfo_a_file_or_the_type(tmp_path):
    (tmp_path / 'classes.txt').write_text('circle\nsquare\n')
    for classes in (('circle', 'square'), ['circle', 'square'], str(tmp_path / 'classes.txt')):
        assert classes_of(dict(type='CocoDataset', metainfo=dict(classes=classes))) == ['circle', 'square']
    assert classes_of(dict(type='CocoDataset')) == list(CocoDataset.METAINFO['classes'])


@pytest.mark.parametrize('key', ['CLASSES', 'Classes'])
def test_classes_under_another_key_are_rejected(key):
    with pytest.raises(UserError, match=f"metainfo has the key '{key}', which nothing reads; write it as classes"):
        classes_of(dict(type='CocoDataset', metainfo={key: ('cat', 'dog')}))


def test_names_with_accents_in_another_form_are_not_just_missing(tmp_path):
    (tmp_path / normalize('NFD', 'café.jpg')).write_bytes(b'image')
    absent = find_absent([dict(file_name=normalize('NFC', 'café.jpg')), dict(file_name='other.jpg')], str(tmp_path))
    assert [path.rpartition('/')[2] for paths in absent.values() for path in paths] == ['other.jpg', 'café.jpg']
    assert len(absent[OTHER_FORM]) == 1


def test_single_class_without_a_comma_is_rejected():
    with pytest.raises(UserError, match=r"there is no file 'circle'; for a single class, write \('circle', \)"):
        classes_of(dict(type='CocoDataset', metainfo=dict(classes=('circle'))))


@pytest.mark.parametrize(
    'text, says', [('{"images": [', 'cannot read .*train.json as JSON'), ('[]', 'train.json has the wrong content')]
)
def test_unreadable_annotation_file_is_rejected(tmp_path, text, says):
    (tmp_path / 'train.json').write_text(text)
    with pytest.raises(UserError, match=says):
        read_annotations(dict(type='CocoDataset', data_root=str(tmp_path), ann_file='train.json'))


def test_missing_and_empty_images_are_found_in_every_folder(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'good.jpg').write_bytes(b'x')
    (tmp_path / 'a' / 'empty.jpg').write_bytes(b'')
    (tmp_path / 'a' / 'folder.jpg').mkdir()
    (tmp_path / 'a' / 'loop.jpg').symlink_to(tmp_path / 'a' / 'loop.jpg')
    names = ('a/good.jpg', 'a/empty.jpg', 'a/folder.jpg', 'a/loop.jpg', 'a/missing.jpg', 'b/missing.jpg')
    images = [dict(file_name=name) for name in names]
    absent = find_absent(images, str(tmp_path))
    assert sorted(absent['are missing']) == [f'{tmp_path}/{name}' for name in names[2:]]
    assert absent['are empty files'] == [f'{tmp_path}/a/empty.jpg']
    check_images(images[:1], str(tmp_path), 'train.json')
    with pytest.raises(UserError, match='4 of the 6 images of train.json are missing, for example .*/a/folder.jpg'):
        check_images(images, str(tmp_path), 'train.json')
    with pytest.raises(UserError, match='1 of the 2 images of train.json are empty files, for example .*/a/empty.jpg'):
        check_images(images[:2], str(tmp_path), 'train.json')
