"""tools/model_converters/publish_model.py."""

import hashlib
import json
import os
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmmaskdino.apis import Predictor
from mmmaskdino.converters.target import read_dataset_meta
from mmmaskdino.hub import find_entry, resolve_model
from mmmaskdino.hub.table import read_table_file

TOOL = 'model_converters/publish_model.py'


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of a run with EMA, as mmengine writes it."""
    hub = MessageHub('test_publish_model')
    hub.update_scalar('train/loss', 1.5)
    content = dict(
        state_dict={'layer.weight': torch.ones(2), 'layer.steps': torch.tensor(1)},
        ema_state_dict={'steps': torch.tensor(7), 'module.layer.weight': torch.zeros(2)},
        optimizer=dict(state={0: torch.zeros(1000)}),
        param_schedulers=[dict(last_step=3)],
        message_hub=hub.state_dict(),
        meta=dict(
            cfg="model = dict(backbone=dict(type='ResNet', depth=18))\ndata_root = 'data/pets/'",
            experiment_name='maskdino_pets_20261129_101500',
            dataset_meta=dict(classes=('cat', 'dog')),
            iter=3,
            hook_msgs=dict(last_ckpt='/home/someone/iter_3.pth'),
        ),
    )
    torch.save(content, tmp_path / 'iter_3.pth')
    return content, tmp_path / 'iter_3.pth'


def published(folder):
    (path,) = folder.glob('*/*.pth')
    return path, torch.load(path, weights_only=True)


def test_weights_config_classes_and_nothing_else(checkpoint, run_tool, tmp_path):
    _, path = checkpoint
    assert run_tool(TOOL, path, tmp_path / 'out') == 0
    out, content = published(tmp_path / 'out')
    assert set(content) == {'state_dict', 'meta'}
    assert set(content['meta']) == {'cfg', 'experiment_name', 'dataset_meta', 'mmmaskdino_version'}
    assert content['meta']['dataset_meta']['classes'] == ('cat', 'dog')
    assert content['state_dict']['layer.weight'].tolist() == [1, 1]  # the averaged ones
    assert out.parent.name == 'maskdino_pets'
    assert out.name == f'maskdino_pets-{hashlib.sha256(out.read_bytes()).hexdigest()[:8]}.pth'


def test_weights_that_are_not_averaged(checkpoint, run_tool, tmp_path):
    content, path = checkpoint
    assert run_tool(TOOL, path, tmp_path / 'out', '--raw-weights') == 0
    state = published(tmp_path / 'out')[1]['state_dict']
    assert (
        state['layer.weight'].tolist() == [0, 0]
        and state['layer.steps'] == 1
        and set(state) == set(content['state_dict'])
    )
    del content['ema_state_dict']
    torch.save(content, path)
    assert 'this one has none' in run_tool(TOOL, path, tmp_path / 'out', '--raw-weights')


def test_config_and_classes_of_a_converted_file(project_root, run_tool, tmp_path):
    torch.save(dict(state_dict={'layer.weight': torch.ones(2)}, meta=dict(converted_from='dino')), tmp_path / 'a.pth')
    assert 'no cfg and no dataset_meta in its metadata: give --config' in run_tool(TOOL, tmp_path / 'a.pth', tmp_path)
    config = project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_detection.py'
    assert run_tool(TOOL, tmp_path / 'a.pth', tmp_path / 'out', '--config', config) == 0
    out, content = published(tmp_path / 'out')
    assert out.name.startswith('maskdino_r18_shapes_detection-')
    assert content['meta']['dataset_meta']['classes'][-1] == 'ring' and 'MaskDINOHead' in content['meta']['cfg']


def test_missing_file(run_tool, tmp_path):
    assert 'publish_model.py: ' in run_tool(TOOL, tmp_path / 'no.pth', tmp_path)


@pytest.mark.parametrize('name', ['a b/c', '../up', 'a b', '.hidden'])
def test_a_name_that_no_table_may_have(checkpoint, run_tool, tmp_path, name):
    message = run_tool(TOOL, checkpoint[1], tmp_path / 'out', '--name', name)
    assert message == f'publish_model.py: name {name!r} (--name): expected a name of letters, digits and . _ + -'
    assert not list(tmp_path.glob('*/**'))


def test_a_folder_that_cannot_be(checkpoint, run_tool):
    path = checkpoint[1]
    assert re.match(r'publish_model.py: .*Not a directory', run_tool(TOOL, path, path))


def test_card_and_table_say_what_a_person_needs(checkpoint, run_tool, tmp_path):
    _, path = checkpoint
    logs = [{'step': 2, 'coco/bbox_mAP': 0.1}, {'step': 3, 'coco/bbox_mAP': 0.4567, 'coco_panoptic/PQ': 53.04}]
    (tmp_path / 'run' / 'vis_data').mkdir(parents=True)
    (tmp_path / 'run' / 'vis_data' / 'scalars.json').write_text('\n'.join(map(json.dumps, logs)))
    path = path.rename(tmp_path / 'run' / 'iter_3.pth')
    assert run_tool(TOOL, tmp_path / 'run', tmp_path / 'out', '--licence', 'MIT', '--name', 'pets') == 0
    out, _ = published(tmp_path / 'out')
    entry = read_table_file(out.parent / 'models.yml')['pets']
    assert entry.results == {'box AP': 45.7, 'PQ': 53.0} and entry.address == str(out)
    assert (entry.bytes, entry.sha256) == (out.stat().st_size, hashlib.sha256(out.read_bytes()).hexdigest())
    assert (entry.task, entry.backbone, entry.data, entry.licence) == ('instance', 'ResNet-18', 'data/pets/', 'MIT')
    assert resolve_model(out.parent) == (None, str(out), {}, '')
    card = (out.parent / 'README.md').read_text()
    for text in ('license: mit', entry.sha256, 'box AP 45.7, PQ 53.0', '`cat`, `dog`', '3 iterations', 'data/pets/'):
        assert text in card
    assert Config.fromfile(out.parent / 'config.py').model.backbone.depth == 18


def test_a_published_folder_predicts_alone(project_root, run_tool, make_model, tmp_path, monkeypatch):
    """Moved to where nothing else is; a file of another name of the table goes through the cache."""
    config = project_root / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py'
    model = make_model(Config.fromfile(config))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    assert run_tool(TOOL, tmp_path / 'model.pth', tmp_path / 'out', '--config', 'maskdino_r18_shapes_panoptic') == 0
    folder = (tmp_path / 'out' / 'maskdino_r18_shapes_panoptic').rename(tmp_path / 'elsewhere')
    image = np.zeros((64, 64, 3), np.uint8)
    alone = Predictor(folder, device='cpu')
    assert alone.dataset_meta['classes'] == read_dataset_meta(Config.fromfile(config))['classes']
    expected = Predictor(config, tmp_path / 'model.pth', device='cpu')(image).sample.pred_panoptic_seg.sem_seg
    assert torch.equal(alone(image).sample.pred_panoptic_seg.sem_seg, expected)
    (weights,) = folder.glob('*.pth')
    with pytest.raises(ValueError, match='is not complete: expected'):
        os.truncate(weights, 1000)
        resolve_model(folder)
    monkeypatch.setenv('MMMASKDINO_MODELS', str(folder / 'models.yml'))
    assert find_entry('maskdino_r18_shapes_panoptic').task == 'panoptic'
