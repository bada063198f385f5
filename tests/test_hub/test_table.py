"""The table of weights by name, and tables of one's own."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import yaml

from mmmaskdino.converters import KINDS
from mmmaskdino.hub import find_entry, read_table, resolve_model
from mmmaskdino.hub.table import PRETRAINING, TASKS, shipped_configs
from mmmaskdino.logged_results import NAMES

TABLE = read_table()
RELEASED = [entry for entry in TABLE.values() if entry.kind == 'maskdino']


@pytest.mark.parametrize('entry', TABLE.values(), ids=TABLE)
def test_every_line_can_be_followed(entry) -> None:
    assert entry.address.startswith('https://') and entry.address.endswith(('.pth', '.pkl'))
    assert entry.kind in KINDS and entry.task in TASKS and entry.config in shipped_configs()
    assert set(entry.results) <= set(NAMES)
    assert entry.md5 is None or len(entry.md5) == 32
    assert KINDS[entry.kind].is_backbone == (entry.task == 'backbone')
    assert entry.task == PRETRAINING or 'dino' not in entry.kind.split('-')


def test_the_eight_released_models() -> None:
    assert len(RELEASED) == 8 and all(entry.config == entry.name for entry in RELEASED)
    for entry in RELEASED:
        assert entry.is_model and entry.md5 and entry.licence == 'Apache-2.0' and entry.results
        (option,) = entry.options
        assert option.endswith('_head.mask_padding') and entry.options[option] is False
        # The authors wrote what a model reaches into its file's name.
        assert all(str(value) in entry.address for value in entry.results.values()) or entry.task == 'panoptic'


def test_the_docs_say_which_number_under_which_options(project_root: Path) -> None:
    text = (project_root / 'docs' / 'weights.md').read_text()
    for entry in RELEASED:
        numbers = ', '.join(f'{metric} {value}' for metric, value in entry.results.items())
        places = dict(coco='COCO val2017', ade20k='ADE20K val', cityscapes='Cityscapes val')
        (option,) = entry.options
        assert f'| `{entry.name}` | {numbers} | {places[entry.data]} | `{option}=False` |' in text


def test_mirrors_have_the_same_file() -> None:
    entry = find_entry('dino_r50_coco_12e')
    (mirror,) = entry.mirrors
    assert mirror.partition('/dino/')[2] == entry.address.partition('/dino/')[2]
    assert entry.sha256 in entry.address


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(content, name: str = 'own.yml') -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        monkeypatch.setenv('MMMASKDINO_MODELS', str(path))
        return path

    return write


def test_mirrors_are_a_list(write) -> None:
    write(dict(models=dict(own=dict(address='own.pth', task='semantic', mirrors='https://example.org/own.pth'))))
    with pytest.raises(ValueError, match='own: mirrors must be a list of addresses, got a text'):
        read_table()


def test_a_published_folder_has_one_model(write, tmp_path: Path) -> None:
    own = dict(address='own.pth', task='semantic')
    write(dict(models=dict(own=own, other=own)), 'models.yml')
    with pytest.raises(ValueError, match='must hold one model, it has other, own'):
        resolve_model(tmp_path)


def test_a_file_of_ones_own(write, tmp_path: Path) -> None:
    shared = dict(base='https://example.org/models/', task='instance', kind='maskdino')
    pets = dict(group='pets', address='pets.pth', config='pets.py')
    other = dict(address='files/own.pth', task='semantic')
    write(dict(groups=dict(pets=shared), models=dict(pets=pets, own=other)))
    table = read_table()
    assert table['pets'].address == 'https://example.org/models/pets.pth'
    assert table['pets'].config == str(tmp_path / 'pets.py')
    assert table['own'].address == str(tmp_path / 'files' / 'own.pth') and table['own'].config is None
    assert set(TABLE) < set(table)
    write(dict(models={'maskdino_r50_coco_instance': dict(address='other.pth', task='instance')}))
    assert find_entry('maskdino_r50_coco_instance').address == str(tmp_path / 'other.pth'), 'the last one counts'


def test_a_table_of_an_installed_package(write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(dict(models=dict(pets=dict(address='pets.pth', task='instance'))))
    monkeypatch.delenv('MMMASKDINO_MODELS')

    class Point:
        def load(self):
            return lambda: path

    monkeypatch.setattr(importlib.metadata, 'entry_points', lambda group: [Point()] * (group == 'mmmaskdino.models'))
    assert 'pets' in read_table()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('models: [', 'expected `models:`'),
        ('a: 1', 'KeyError'),
        ('text', 'expected `models:`'),
        (dict(models=dict(a=dict(task='instance'))), 'own.yml, a: missing: address'),
        (dict(models=dict(a=dict(address='a.pth', task='instance', sha=1))), 'unknown: sha; the values are address'),
        (dict(models=dict(a=dict(address='a.pth', task='boxes'))), "task is 'boxes', expected one of"),
        (dict(models={'../a': dict(address='a.pth', task='instance')}), 'expected a name of letters'),
    ],
)
def test_faults_of_a_table_are_named(write, content, message: str) -> None:
    write(content)
    with pytest.raises(ValueError, match=message):
        read_table()


def test_a_table_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('MMMASKDINO_MODELS', '/no/such.yml')
    with pytest.raises(ValueError, match='/no/such.yml: No such file or directory'):
        read_table()
