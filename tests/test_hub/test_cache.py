"""From a name to weights on this disk, whatever happens in between."""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmmaskdino.apis.launch import open_model
from mmmaskdino.hub import FetchError, cache, cached_model, download, fetch_model, find_entry, local_weights

NAME = 'pets'


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob('*') if path.is_file() and path.name != 'lock')


def test_fetched_converted_and_told(table, official, home: Path, server) -> None:
    content = official()
    entry = table(NAME, content, options={'model.panoptic_head.mask_padding': False})
    assert cached_model(entry) is None
    path = fetch_model(entry)
    assert files_in(home) == ['pets.pth', 'receipt.json'], 'the original is gone'
    receipt = json.loads((path.parent / 'receipt.json').read_text())
    assert receipt['original']['md5'] == entry.md5 and receipt['original']['addresses'] == [entry.address]
    assert receipt['options'] == entry.options and receipt['versions']['converter'] == cache.CONVERTER_VERSION
    weights = torch.load(path, weights_only=True)
    assert weights['meta']['dataset_meta']['classes'] == ['cat', 'dog']
    assert weights['meta']['converted_from'] == 'maskdino' and weights['meta']['experiment_name'].endswith('instance')
    server.files.clear()
    assert fetch_model(entry) == path == local_weights('maskdino://pets'), 'without the server'
    assert len(server.requests) == 1
    cfg, opened = open_model('pets')
    assert opened == str(path) and cfg.model.panoptic_head.mask_padding is False
    alone, _ = open_model(path)
    assert alone.model == cfg.model, 'the file holds its config'


def test_mmengine_loads_names(table, official) -> None:
    table(NAME, official())
    loaded = CheckpointLoader.load_checkpoint('maskdino://pets', map_location='cpu')
    assert 'panoptic_head.heads.classify.weight' in loaded['state_dict']
    with pytest.raises(ValueError, match='no model has the name pet .*did you mean pets'):
        CheckpointLoader.load_checkpoint('maskdino://pet')


def test_originals_may_stay_and_are_picked_up(table, official, home: Path, server) -> None:
    content = official()
    fetch_model(table(NAME, content), keep=True)
    assert (home / 'downloads' / 'pets.pth').read_bytes() == content
    other = table(NAME, content, options={'model.panoptic_head.mask_padding': False})
    assert cached_model(other) is None, 'other options make another model'
    fetch_model(other)
    assert len(server.requests) == 1 and (home / 'downloads' / 'pets.pth').exists(), "a person's file is left there"


def test_another_converter_converts_anew(table, official, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = table(NAME, official())
    path = fetch_model(entry)
    monkeypatch.setattr(cache, 'CONVERTER_VERSION', cache.CONVERTER_VERSION + 1)
    assert cached_model(entry) is None
    assert fetch_model(entry) != path


@pytest.mark.parametrize('width', [32, 48])
def test_a_size_is_read_off_the_file(table, official, width: int) -> None:
    """Both shapes that a released file might have become models, and the config follows."""
    key = 'model.panoptic_head.pixel_decoder.ffn_dim'
    tensor = 'sem_seg_head.pixel_decoder.transformer.encoder.layers.0.linear1.bias'
    table(NAME, official({key: width}), sizes={key: tensor})
    cfg, path = open_model(NAME)
    assert cfg.model.panoptic_head.pixel_decoder.ffn_dim == width
    bias = torch.load(path, weights_only=True)['state_dict']['panoptic_head.pixel_decoder.layers.0.ffn.0.bias']
    assert bias.shape == (width,)
    assert open_model(NAME)[0].model == cfg.model, 'the second time, from the receipt'


def test_the_released_model_of_two_shapes_has_such_a_rule() -> None:
    entry = find_entry('maskdino_r50-3level_coco_instance')
    assert list(entry.sizes) == ['model.panoptic_head.pixel_decoder.ffn_dim']


def test_what_does_not_fit_the_config_is_no_model(table, official, home: Path) -> None:
    entry = table(NAME, official({'model.panoptic_head.pixel_decoder.ffn_dim': 48}))
    with pytest.raises(ValueError, match=r'do not fit the model of the config .*\n.*expected shape \(32,'):
        fetch_model(entry)
    assert files_in(home) == []
    entry = table(NAME, official(), sizes={'model.panoptic_head.dim': 'no.such'})
    with pytest.raises(ValueError, match='is no pets: it has no tensor no.such'):
        fetch_model(entry)


class Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_a_file_that_asks_for_code(table, official, tmp_path: Path, home: Path) -> None:
    entry = table(NAME, official(trick=Attack(tmp_path / 'was_here')))
    with pytest.raises(ValueError, match='could run code'):
        fetch_model(entry)
    assert not (tmp_path / 'was_here').exists() and files_in(home) == []


def test_a_damaged_file_of_unknown_checksum_is_fetched_anew(table, official, server) -> None:
    content = official()
    entry = table(NAME, content, md5=None, bytes=None)
    server.files['/pets.pth'] = content[: len(content) // 2]
    with pytest.raises(ValueError, match='damaged'):
        fetch_model(entry)
    server.files['/pets.pth'] = content
    fetch_model(entry)


def test_a_full_disk_while_converting(table, official, home: Path, server, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = table(NAME, official())

    def full(content, file):
        Path(file).write_bytes(b'half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(torch, 'save', full)
        with pytest.raises(OSError, match='No space left'):
            fetch_model(entry)
    assert files_in(home) == ['pets.part.pth'] and cached_model(entry) is None
    fetch_model(entry)
    assert len(server.requests) == 1, 'what was fetched is not lost'


@pytest.mark.parametrize('damage', ['short', 'no receipt', 'half a receipt'])
def test_what_is_not_complete_is_not_there(table, official, damage: str) -> None:
    entry = table(NAME, official())
    path = fetch_model(entry)
    receipt = path.parent / 'receipt.json'
    if damage == 'short':
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == 'no receipt':
        receipt.unlink()
    else:
        receipt.write_text(receipt.read_text()[:40])
    assert cached_model(entry) is None
    assert fetch_model(entry) == path and cached_model(entry)


def test_files_are_verified_against_the_receipt(table, official) -> None:
    entry = table(NAME, official())
    path = fetch_model(entry)
    assert entry.md5 in cache.verify_files(cached_model(entry))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(FetchError, match='wrong md5'):
        cache.verify_files(cached_model(entry))


def start(entry, prepare=lambda: None) -> multiprocessing.Process:
    """Fetch in another process, as a rank of a training does."""

    def run() -> None:
        prepare()
        fetch_model(entry)

    process = multiprocessing.get_context('fork').Process(target=run)
    process.start()
    return process


def die(*args) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_converting() -> None:
    torch.save = lambda content, file: (Path(file).write_bytes(b'half'), die())


def die_before_the_receipt() -> None:
    cache._write = die


@pytest.mark.parametrize('prepare', [die_while_converting, die_before_the_receipt])
def test_killed_after_the_download(table, official, home: Path, server, prepare) -> None:
    entry = table(NAME, official())
    process = start(entry, prepare)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and cached_model(entry) is None
    assert torch.load(fetch_model(entry), weights_only=True)['state_dict']
    assert files_in(home) == ['pets.pth', 'receipt.json']
    assert len(server.requests) == 1, 'what was fetched is not lost'


def test_killed_while_downloading(table, official, home: Path, server) -> None:
    content = official(padding=torch.zeros(1_000_000))  # longer than what is read at once
    entry = table(NAME, content)
    server.stall_after = 3_000_000
    process = start(entry)
    part = home / 'models' / NAME / 'pets.part.pth'
    while not (part.exists() and part.stat().st_size >= download.CHUNK):
        assert process.is_alive()
        time.sleep(0.02)
    process.kill()
    process.join(60)
    server.stall_after = None
    assert cached_model(entry) is None
    fetch_model(entry)
    assert [bool(asked) for _, asked in server.requests] == [False, True], 'goes on where it was'
    assert files_in(home) == ['pets.pth', 'receipt.json']


def test_several_processes_at_once_fetch_once(table, official, home: Path, server) -> None:
    entry = table(NAME, official())
    server.stall_after = 1000
    processes = [start(entry) for _ in range(3)]
    assert server.stalled.wait(60)
    time.sleep(0.2)
    server.stall_after = None
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0] and len(server.requests) == 1
    assert cached_model(entry)


def test_addresses_of_ones_own_are_fetched_once(server, home: Path) -> None:
    buffer = io.BytesIO()
    torch.save({'state_dict': {'a': torch.ones(1)}}, buffer)
    addresses = [server.add(f'{folder}/model.pth', buffer.getvalue()) for folder in 'ab']
    paths = [local_weights(address) for address in (*addresses, *addresses)]
    assert len(server.requests) == 2 and paths[:2] == paths[2:] and paths[0] != paths[1], 'two files of one name'
    assert CheckpointLoader.load_checkpoint(addresses[0])['state_dict']['a'] == 1
    assert local_weights('a.pth') is None


def test_digits_in_a_name_are_checked(server, home: Path) -> None:
    address = server.add('model-1a2b3c4d.pth', b'something')
    with pytest.raises(FetchError, match='wrong sha256: .* expected 1a2b3c4d'):
        local_weights(address)
    good = server.add('model-3fc9b689.pth', b'something')
    assert local_weights(good).read_bytes() == b'something'
    assert files_in(home) == ['model-3fc9b689.pth']


def test_files_of_this_package_are_taken_as_they_are(table, home: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({'state_dict': {'a': torch.ones(1)}, 'meta': {'cfg': 'a = 1'}}, buffer)
    entry = table('own', buffer.getvalue(), kind=None, config=None)
    assert fetch_model(entry).read_bytes() == buffer.getvalue()
    assert open_model('own')[0].a == 1


def test_offline(table, official, monkeypatch: pytest.MonkeyPatch, server) -> None:
    """Said before anything is built; what is here is used."""
    monkeypatch.setenv(download.OFFLINE, '1')
    entry = table(NAME, official())
    with pytest.raises(FetchError, match=r'(?s)MMMASKDINO_OFFLINE is set.*pets.pth.*downloads'):
        open_model(NAME)
    assert not server.requests
    monkeypatch.delenv(download.OFFLINE)
    fetch_model(entry)
    monkeypatch.setenv(download.OFFLINE, '1')
    assert open_model(NAME)
