"""tools/model_converters/publish_model.py."""

import hashlib

import pytest
import torch
from mmengine.logging import MessageHub

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
            cfg='model = dict()',
            experiment_name='maskdino_pets',
            dataset_meta=dict(classes=('cat', 'dog')),
            iter=3,
            hook_msgs=dict(last_ckpt='/home/someone/iter_3.pth'),
        ),
    )
    torch.save(content, tmp_path / 'iter_3.pth')
    return content, tmp_path / 'iter_3.pth'


def published(folder):
    (path,) = folder.glob('*.pth')
    return path, torch.load(path, weights_only=True)


def test_weights_config_classes_and_nothing_else(checkpoint, run_tool, tmp_path):
    _, path = checkpoint
    assert run_tool(TOOL, path, tmp_path / 'out') == 0
    out, content = published(tmp_path / 'out')
    assert set(content) == {'state_dict', 'meta'}
    assert set(content['meta']) == {'cfg', 'experiment_name', 'dataset_meta', 'mmmaskdino_version'}
    assert content['meta']['dataset_meta']['classes'] == ('cat', 'dog')
    assert content['state_dict']['layer.weight'].tolist() == [1, 1]  # the averaged ones
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
