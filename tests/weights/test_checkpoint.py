import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from econvnext_mmdet.utils.cli import TRUST
from econvnext_mmdet.utils.errors import UserError
from econvnext_mmdet.weights import checkpoint
from econvnext_mmdet.weights.checkpoint import Checkpoint, local_file, read_checkpoint, write_checkpoint


def test_unreadable_files_are_refused(trained_state, save, tmp_path):
    with pytest.raises(UserError, match='no checkpoint file .*absent.pth'):
        read_checkpoint(str(tmp_path / 'absent.pth'))
    path = tmp_path / 'truncated.pth'
    whole = open(save(trained_state), 'rb').read()
    for length in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='cannot read the checkpoint .*truncated.pth: .* The file is truncated'):
            read_checkpoint(str(path))
    with pytest.raises(UserError, match='has no named tensors'):
        read_checkpoint(save(dict(state_dict=dict(epoch=3))))


def test_a_number_beyond_float32_is_refused(save):
    with pytest.raises(UserError, match=r'infinite or not a number in 1 of 2 tensors \(a\)'):
        read_checkpoint(save(dict(a=torch.full((2,), 1e300, dtype=torch.float64), b=torch.ones(2).double())))


@pytest.mark.parametrize('protocol', [4, 5])
def test_a_newer_pickle_protocol_is_named(save, tmp_path, protocol, recwarn, monkeypatch):
    path = save(dict(weight=torch.ones(2)))
    torch.save(dict(weight=torch.ones(2)), path, pickle_protocol=protocol)
    with pytest.raises(UserError, match='it is a pickle of protocol 4 or later, .* If you trust this file'):
        read_checkpoint(path)
    assert not [*recwarn]
    monkeypatch.setenv(TRUST, '1')
    assert read_checkpoint(path).state['weight'].tolist() == [1, 1]


CIRCLE: dict = {}
CIRCLE['itself'] = CIRCLE


@pytest.mark.parametrize('meta', [CIRCLE, {(1, 2): 3}, {'number': 10**5000}])
def test_metadata_that_json_cannot_hold_is_named(tmp_path, meta):
    with pytest.raises(UserError, match='the metadata for .*net.safetensors cannot be written as JSON: .* a .pth file'):
        write_checkpoint(str(tmp_path / 'net.safetensors'), Checkpoint(dict(a=torch.ones(2)), meta))
    assert not [*tmp_path.iterdir()]


def test_tensors_that_share_their_memory_are_written(tmp_path):
    path, shared = str(tmp_path / 'net.safetensors'), torch.rand(3, 2)
    write_checkpoint(path, Checkpoint(dict(a=shared, b=shared, c=shared[1]), {}))
    state = read_checkpoint(path).state
    assert torch.equal(state['a'], shared) and torch.equal(state['b'], shared) and torch.equal(state['c'], shared[1])


@pytest.mark.parametrize(
    'names, kind',
    [
        (['stem.0.weight', 'stages.0.weight', 'norm1.weight'], 'backbone'),
        (['backbone.stem.0.weight'], 'backbone'),
        (['backbone.stem.0.weight', 'head.fc.weight'], 'classifier'),
        (['backbone.stem.0.weight', 'neck.convs.0.weight', 'bbox_head.retina_cls.weight'], 'detector'),
        (['model.0.weight'], 'model'),
    ],
)
def test_the_kind_of_a_file_follows_from_the_names_of_its_tensors(save, names, kind):
    state = {name: torch.zeros(1) for name in names}
    assert read_checkpoint(save(state)).kind == kind
    averaged = dict(steps=torch.tensor(3), **{f'module.{name}': value for name, value in state.items()})
    found = read_checkpoint(save(averaged))
    assert found.kind == kind and set(found.state) == set(names)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_written_files_are_read_back(small, trained_state, tmp_path, suffix):
    path = str(tmp_path / 'some' / f'net{suffix}')
    name = 'stem.0.conv.weight'
    trained_state[name] = trained_state[name].to(memory_format=torch.channels_last)
    write_checkpoint(path, Checkpoint(trained_state, dict(classes=['a', 'b'], epoch=3)))
    found = read_checkpoint(path)
    assert found.meta == dict(classes=['a', 'b'], epoch=3)
    for address in (path, f'file:{path}', f'file://{path}'):
        model = small(init_cfg=dict(type='Pretrained', checkpoint=address))
        model.init_weights()
        assert all(torch.equal(value, trained_state[key]) for key, value in model.state_dict().items())
    whole = open(path, 'rb').read()
    for length in (0, 7, len(whole) // 2):
        open(path, 'wb').write(whole[:length])
        with pytest.raises(UserError, match=f'cannot read the checkpoint .*net{suffix}'):
            read_checkpoint(path)
    with pytest.raises(UserError, match='no checkpoint file file:/nowhere/net.pth'):
        read_checkpoint('file:/nowhere/net.pth')


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache for downloads."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    path = tmp_path / 'cache' / 'checkpoints'
    path.mkdir(parents=True)
    return path


@pytest.fixture
def server(tmp_path, cache):
    """A local server for the folder ``served``."""
    (tmp_path / 'served').mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / 'served'))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_files_are_downloaded_once_and_checked_by_hash(trained_state, tmp_path, server, cache, suffix):
    write_checkpoint(str(tmp_path / f'net{suffix}'), Checkpoint(trained_state, {}))
    content = (tmp_path / f'net{suffix}').read_bytes()
    name = f'net-{hashlib.sha256(content).hexdigest()[:8]}{suffix}'
    (tmp_path / 'served' / name).write_bytes(content)
    (tmp_path / 'served' / f'net-00000000{suffix}').write_bytes(content)
    found = read_checkpoint(f'{server}/{name}').state
    assert all(torch.equal(value, trained_state[key]) for key, value in found.items())
    assert set(found) == set(trained_state)
    (tmp_path / 'served' / name).unlink()
    read_checkpoint(f'{server}/{name}')
    for path in (f'{server}/net-00000000{suffix}', str(tmp_path / 'served' / f'net-00000000{suffix}')):
        with pytest.raises(UserError, match='net-00000000.* does not match the SHA-256 in its name: .*"00000000"'):
            read_checkpoint(path)
    assert [file.name for file in cache.iterdir()] == [name]
    with pytest.raises(UserError, match='cannot download http.*absent-00000000.pth: HTTP Error 404'):
        read_checkpoint(f'{server}/absent-00000000.pth')
    with pytest.raises(UserError, match='cannot download http.*absent.pth: HTTP Error 404: [^.]*$'):
        read_checkpoint(f'{server}/absent.pth')


def test_wrong_download_is_never_stored(trained_state, save, tmp_path, server, cache, monkeypatch):
    download, stored = torch.hub.download_url_to_file, []

    def observed(*args, **kwargs):
        try:
            download(*args, **kwargs)
        finally:
            stored.append(list(cache.iterdir()))

    monkeypatch.setattr(torch.hub, 'download_url_to_file', observed)
    save(trained_state, 'served/net-00000000.pth')
    with pytest.raises(UserError, match='does not match the SHA-256 in its name: .*expected "00000000", got '):
        local_file(f'{server}/net-00000000.pth')
    assert stored == [[]]


def test_a_local_file_with_the_wrong_hash_is_kept(trained_state, save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = 'http_models/net-00000000.pth'  # not a URL, although it starts like one
    (tmp_path / 'http_models').mkdir()
    save(trained_state, path)
    with pytest.raises(UserError, match='does not match the SHA-256 in its name'):
        read_checkpoint(path)
    assert (tmp_path / path).is_file()


@pytest.mark.parametrize('name', ['net-20250801.pth', 'net-20991231.pth'])
def test_a_date_in_the_name_is_not_a_hash(trained_state, save, tmp_path, name):
    assert set(read_checkpoint(save(trained_state, name)).state) == set(trained_state)
    with pytest.raises(UserError, match='expected "20251301", got'):
        read_checkpoint(save(trained_state, 'net-20251301.pth'))


def test_wrong_file_in_the_cache_is_removed(trained_state, save, server, cache):
    save(trained_state, 'cache/checkpoints/net-00000000.pth')
    with pytest.raises(UserError, match='does not match the SHA-256 in its name: expected "00000000", got '):
        read_checkpoint(f'{server}/net-00000000.pth')
    assert not list(cache.iterdir())


def test_failed_download_does_not_block_other_processes(server, monkeypatch):
    """Every process reaches the barrier, and every one of them fails."""
    reached = []
    monkeypatch.setattr(checkpoint, 'barrier', lambda: reached.append(True))
    with pytest.raises(UserError, match='cannot download'):
        local_file(f'{server}/absent.pth')
    monkeypatch.setattr(checkpoint, 'is_main_process', lambda: False)
    with pytest.raises(UserError, match='no checkpoint file http.*absent.pth'):
        local_file(f'{server}/absent.pth')
    assert len(reached) == 2
