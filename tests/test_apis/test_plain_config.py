"""What a run saves of a config reads back as the config."""

import copy
import pickle
from pathlib import Path

import pytest
from mmengine.config import Config

from mmmaskdino.apis.plain_config import PlainConfig

NAMES = ('{{ fileDirname }}', "{{$A:'+open(__import__('os').environ['RAN'],'w').write('ran')+'}}", '\\{{{', 'a"\'b')


@pytest.fixture
def cfg(tmp_path: Path) -> PlainConfig:
    cfg = Config(dict(data=dict(classes=NAMES, nested=[dict(name=NAMES[1])]), work_dir='{{ fileBasename }}'))
    return PlainConfig.of(cfg)


@pytest.mark.parametrize('through', [lambda c: c, copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_saved_and_read(cfg: PlainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, through) -> None:
    monkeypatch.setenv('RAN', str(tmp_path / 'ran'))
    through(cfg).dump(tmp_path / 'saved.py')
    for found in (Config.fromfile(tmp_path / 'saved.py'), Config.fromstring(through(cfg).pretty_text, '.py')):
        assert found.to_dict() == cfg.to_dict()
    assert not (tmp_path / 'ran').exists()


def test_the_values_are_those_of_the_config() -> None:
    cfg = Config(dict(a=1), filename=None)
    plain = PlainConfig.of(cfg)
    plain.a = 2
    assert isinstance(plain, Config) and cfg.a == 2


def test_a_saved_config_is_read_without_running_it(project_root, tmp_path):
    for name in ('maskdino_r50_coco_panoptic', 'maskdino_swin-l-o365_ade20k_semantic'):
        cfg = PlainConfig.of(Config.fromfile(project_root / 'configs' / 'maskdino' / f'{name}.py'))
        cfg.more = {'a.b': -1.5, 'inf': -float('inf'), 3: (1, [None, True]), 'text': '{{ x }}'}
        again = PlainConfig.read(cfg.pretty_text, 'a.pth')
        assert again._cfg_dict == cfg._cfg_dict and again.filename == 'a.pth'


@pytest.mark.parametrize(
    'text',
    ['import os', "a = __import__('os')", 'a = open("b")', 'a = [x for x in (1,)]', 'a = dict(b=c)', 'a = (', '1'],
)
def test_what_is_more_than_values_is_rejected(text):
    with pytest.raises(ValueError, match='the config in a.pth was not read: .*give the config as a file'):
        PlainConfig.read(text, 'a.pth')


@pytest.mark.parametrize('kind', ['os.system', 'mmengine.rmtree', 'mmengine.fileio.io.rmtree', 'mmdet.apis.X', 'open'])
def test_types_that_are_no_classes_are_rejected(kind):
    """mmengine imports and calls whatever a name with dots stands for."""
    with pytest.raises(ValueError, match=f'type {kind!r} is no name of a registered class'):
        PlainConfig.read(f"model = dict(parts=[dict(type='{kind}', command='touch was_here')])", 'a.pth')
