"""tools/model_converters/convert_checkpoint.py on a small model: a file in, a file out, and a true exit status."""

import os
import pickle
import re

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmmaskdino.converters import restore_model

TOOL = 'model_converters/convert_checkpoint.py'


@pytest.fixture
def small(project_root, tmp_path, mmdet_scope):
    """A config file of a small Mask DINO, and its weights under the official names."""
    path = tmp_path / 'maskdino_r18_pets_instance.py'
    path.write_text(
        f"_base_ = '{project_root}/configs/maskdino/maskdino_r50-3level_coco_instance.py'\n"
        "metainfo = dict(classes=('cat', 'dog'))\n"
        'test_dataloader = dict(dataset=dict(metainfo=metainfo))\n'
        'model = dict(\n'
        '    backbone=dict(depth=18, base_channels=8, init_cfg=None),\n'
        '    panoptic_head=dict(\n'
        '        in_channels=[8, 16, 32, 64], dim=32, mask_dims=32, num_things_classes=2,\n'
        '        pixel_decoder=dict(num_layers=1, ffn_dim=32), decoder=dict(num_layers=2, ffn_dim=32),\n'
        '    ),\n'
        ')\n'
    )
    model = MODELS.build(Config.fromfile(path).model)
    return path, model, restore_model(model.state_dict(), coarsest_first=True).tensors


@pytest.fixture
def run(run_tool, tmp_path):
    """Convert a file; returns what `run_tool` does and what was written."""

    def _run(content, config, *args):
        source, target = tmp_path / 'source.pth', tmp_path / 'out' / 'target.pth'
        torch.save(content, source)
        status = run_tool(TOOL, source, target, '--config', config, *args)
        return status, torch.load(target, weights_only=True) if target.exists() else None

    return _run


def test_official_weights(small, run, capsys):
    config, model, official = small
    status, written = run({'model': official, 'iteration': 5}, config)
    assert status == 0
    assert set(written) == {'state_dict', 'meta'}
    model.load_state_dict(written['state_dict'])
    assert written['meta']['dataset_meta']['classes'] == ['cat', 'dog']
    assert written['meta']['converted_from'] == 'maskdino'
    report = capsys.readouterr().out
    assert f'maskdino: {len(written["state_dict"])} of {len(official)} tensors used' in report
    assert 'dropped: 1 (class weights of the loss, which the config gives)' in report
    assert '(second name of a tensor), for example sem_seg_head.predictor' in report


def test_and_back(small, run, capsys):
    config, model, official = small
    status, written = run({'state_dict': model.state_dict(), 'meta': {}}, config)
    assert status == 0
    assert set(written['model']) == set(official)
    assert all(torch.equal(written['model'][name], tensor) for name, tensor in official.items())
    assert 'FEATURE_ORDER: high2low' in capsys.readouterr().out


def test_pickle_of_detectron2(small, run_tool, tmp_path):
    config, model, official = small
    content = {'model': {name: tensor.numpy() for name, tensor in official.items()}, '__author__': 'someone'}
    (tmp_path / 'model_final.pkl').write_bytes(pickle.dumps(content))
    assert run_tool(TOOL, tmp_path / 'model_final.pkl', tmp_path / 'target.pth', '--config', config) == 0
    model.load_state_dict(torch.load(tmp_path / 'target.pth', weights_only=True)['state_dict'])


def test_backbone_has_no_classes(small, run):
    config, model, _ = small
    status, written = run(dict(model.backbone.state_dict(), **{'fc.weight': torch.zeros(1000, 64)}), config)
    assert status == 0 and 'dataset_meta' not in written['meta']
    model.backbone.load_state_dict(written['state_dict'])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'sem_seg_head.predictor.class_embed.bias': torch.zeros(3)},
            r'classify.bias: expected shape \(2,\), got \(3,\)',
        ),
        ({'sem_seg_head.predictor.new': torch.zeros(3)}, 'predictor.new is no parameter'),
        ({'sem_seg_head.predictor.decoder_norm.bias': torch.ones(32)}, 'hold different values'),
        ({'sem_seg_head.predictor.class_embed.bias': None}, 'classify.bias: missing'),
    ],
)
def test_incomplete_conversion_fails_and_writes_nothing(small, run, change, message):
    config, _, official = small
    changed = {name: tensor for name, tensor in (official | change).items() if tensor is not None}
    status, written = run(changed, config)
    assert isinstance(status, str) and status.startswith('convert_checkpoint.py: ')
    assert re.search(message, status) and written is None


def test_errors_of_the_user_are_one_message(small, run, run_tool, tmp_path):
    config, _, official = small
    assert 'does not exist' in run_tool(TOOL, 'no.pth', 'out.pth', '--config', config)
    assert 'no known kind' in run({'a': torch.zeros(1)}, config)[0]
    assert 'found no decoder layer' in run(official, config, '--from', 'mmdet-dino')[0]
    torch.save(official, tmp_path / 'short.pth')
    (tmp_path / 'short.pth').write_bytes((tmp_path / 'short.pth').read_bytes()[:5000])
    assert 'is damaged' in run_tool(TOOL, tmp_path / 'short.pth', 'out.pth', '--config', config)


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_malicious_file_is_rejected(small, run, tmp_path):
    config, _, official = small
    status, written = run({'model': official, 'trick': Attack(tmp_path / 'was_here')}, config)
    assert 'system, which is neither a tensor' in status and written is None
    assert not (tmp_path / 'was_here').exists()
