from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmseg.registry import HOOKS as MMSEG_HOOKS
from torch import nn

from mmmaskdino.converters import read_checkpoint
from mmmaskdino.datasets.shapes import METAINFO, make_shapes_dataset
from mmmaskdino.engine import ClassMatchingHook

HEAD = 'heads.classify.bias'


class Loop(BaseLoop):
    """A loop with a dataset and nothing to do."""

    def __init__(self, classes):
        self.dataloader = SimpleNamespace(dataset=BaseDataset(metainfo=dict(classes=classes), lazy_init=True))

    def run(self):
        """Not called."""


class FakeHead(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.heads = nn.ModuleDict(dict(classify=nn.Linear(2, num_classes), norm=nn.LayerNorm(2)))
        nn.init.constant_(self.heads.classify.bias, -1.0)


def make_runner(classes, head='panoptic_head', train=None, test=None, resume=False):
    model = nn.ModuleDict({head: FakeHead(len(classes))})
    warnings = []
    return SimpleNamespace(
        model=model,
        _train_loop=train or Loop(classes),
        _val_loop=None,
        _test_loop=test,
        _resume=resume,
        logger=SimpleNamespace(warning=warnings.append),
        warnings=warnings,
    )


def make_checkpoint(classes, prefix='panoptic_head'):
    bias = torch.arange(float(len(classes)))
    state = {f'{prefix}.{HEAD}': bias, f'{prefix}.heads.classify.weight': bias[:, None].repeat(1, 2)}
    return dict(
        state_dict=state | {f'{prefix}.heads.norm.bias': torch.ones(2)}, meta=dict(dataset_meta=dict(classes=classes))
    )


def test_registered_for_mmdet_and_mmseg():
    assert HOOKS.get('ClassMatchingHook') is MMSEG_HOOKS.get('ClassMatchingHook') is ClassMatchingHook


def test_before_the_averaged_model_copies_the_checkpoint():
    order = ['VERY_HIGH', 'HIGH', 'ABOVE_NORMAL', 'NORMAL']
    assert order.index(ClassMatchingHook.priority) < order.index(EMAHook.priority)


def test_rows_by_name_and_one_warning():
    runner, checkpoint = make_runner(['cup', 'bird', 'cat']), make_checkpoint(('cat', 'dog', 'cup'))
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert checkpoint['state_dict'][f'panoptic_head.{HEAD}'].tolist() == [2, -1, 0]
    assert len(runner.warnings) == 1 and '2 of 3 classes' in runner.warnings[0]


def test_head_of_a_detector_in_a_segmentor():
    runner = make_runner(['cup', 'cat'], head='decode_head')
    checkpoint = make_checkpoint(['cat', 'cup'])
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert set(checkpoint['state_dict']) == set(runner.model.state_dict()) - {'decode_head.heads.norm.weight'}
    assert checkpoint['state_dict'][f'decode_head.{HEAD}'].tolist() == [1, 0]


def test_same_classes_say_nothing():
    runner, checkpoint = make_runner(['cup', 'cat']), make_checkpoint(('cup', 'cat'))
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert runner.warnings == [] and checkpoint['state_dict'][f'panoptic_head.{HEAD}'].tolist() == [0, 1]


def test_resumed_run_is_left_alone():
    runner, checkpoint = make_runner(['cup', 'cat'], resume=True), make_checkpoint(['cat', 'cup'])
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert runner.warnings == [] and checkpoint['state_dict'][f'panoptic_head.{HEAD}'].tolist() == [0, 1]


def test_classes_of_the_running_phase():
    """In a test the training loop is a config that was never built."""
    runner = make_runner(['cup', 'cat'], train=dict(type='IterBasedTrainLoop'), test=Loop(['cup', 'cat']))
    checkpoint = make_checkpoint(['cat', 'cup'])
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert checkpoint['state_dict'][f'panoptic_head.{HEAD}'].tolist() == [1, 0]


@pytest.mark.parametrize('content', [dict(state_dict={'backbone.conv1.weight': torch.zeros(1)}), {}])
def test_other_checkpoints_are_left_alone(content):
    runner = make_runner(['cup'])
    before = dict(content)
    ClassMatchingHook().after_load_checkpoint(runner, content)
    assert content == before and runner.warnings == []


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    return make_shapes_dataset(tmp_path_factory.mktemp('shapes'), 4, 1, size=64, progress=False)


def train(project_root, shapes, work_dir, task, max_iters, **changes):
    """A run of a shipped config on a few images."""
    cfg = Config.fromfile(project_root / 'configs' / 'maskdino' / f'maskdino_r18_shapes_{task}.py')
    options = {
        'work_dir': str(work_dir),
        'train_dataloader': dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=f'{shapes}/')),
        'train_cfg': dict(max_iters=max_iters),
        'default_hooks.checkpoint.interval': max_iters,
        'param_scheduler': [],
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None,
        'experiment_name': f'{task}_{max_iters}_{len(changes)}',
    }
    cfg.merge_from_dict(options | changes)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.slow
def test_load_from_alone(project_root, shapes, tmp_path):
    """Boxes learnt on things, then masks of things and stuff: all that exists is taken over, the stuff is new."""
    train(project_root, shapes, tmp_path / 'detection', 'detection', 1)
    file = str(tmp_path / 'detection' / 'iter_1.pth')
    hooks = [dict(type='ClassMatchingHook'), dict(type='EMAHook', momentum=0.1)]
    changes = {'load_from': file, 'custom_hooks': hooks, 'optim_wrapper.optimizer.lr': 0.0}
    runner = train(project_root, shapes, tmp_path / 'panoptic', 'panoptic', 1, **changes)
    before = read_checkpoint(file).tensors
    saved = read_checkpoint(tmp_path / 'panoptic' / 'iter_1.pth')
    num_things = len(METAINFO['thing_classes'])
    for state in (runner.model.state_dict(), saved.tensors):
        for name, tensor in before.items():
            if 'running_' in name or 'num_batches' in name:
                continue
            kept = state[name][:num_things] if 'classify' in name or 'label_embedding' in name else state[name]
            assert torch.equal(kept, tensor), name
    assert 'ema_state_dict' in saved.content
    log = next((tmp_path / 'panoptic').glob('*/*.log')).read_text()
    assert log.count('6 of 10 classes are taken by name') == 1
