"""Class counts, and weights for other classes by their names."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmdet.datasets import ConcatDataset
from mmdet.evaluation import CocoMetric
from mmdet.registry import HOOKS
from mmengine.config import Config
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.hooks import EMAHook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmseg.registry import HOOKS as MMSEG_HOOKS
from torch import nn

from mmmaskdino.converters import read_checkpoint
from mmmaskdino.datasets.shapes import METAINFO, make_shapes_dataset
from mmmaskdino.engine import ClassCountCheckHook, ClassMatchingHook
from mmmaskdino.engine.classes import check_class_counts, check_class_order, iterate_datasets
from mmmaskdino.evaluation import CheckedCocoMetric

INSTANCE = {'classes': ('cup', 'cat')}
PANOPTIC = {'classes': ('cup', 'cat', 'wall'), 'thing_classes': ('cup', 'cat'), 'stuff_classes': ('wall',)}


def make_head(num_things: int, num_stuff: int) -> SimpleNamespace:
    return SimpleNamespace(num_things_classes=num_things, num_stuff_classes=num_stuff)


def make_dataset(metainfo: dict) -> BaseDataset:
    return BaseDataset(metainfo=metainfo, lazy_init=True)


def make_runner(head, train, val=None, test=None) -> SimpleNamespace:
    loaders = {
        f'{name}_dataloader': SimpleNamespace(dataset=dataset)
        for name, dataset in {'train': train, 'val': val, 'test': test}.items()
    }
    evaluators = {f'{name}_evaluator': SimpleNamespace(metrics=[]) for name in ('val', 'test')}
    return SimpleNamespace(model=SimpleNamespace(panoptic_head=head), val_loop=val, **loaders, **evaluators)


def test_registered():
    assert HOOKS.get('ClassCountCheckHook') is ClassCountCheckHook


@pytest.mark.parametrize(('counts', 'metainfo'), [((2, 0), INSTANCE), ((2, 1), PANOPTIC)])
def test_equal_counts(counts, metainfo):
    runner = make_runner(make_head(*counts), *[make_dataset(metainfo)] * 3)
    hook = ClassCountCheckHook()
    hook.before_train(runner)
    hook.before_val(runner)
    hook.before_test(runner)


@pytest.mark.parametrize(
    ('counts', 'metainfo'),
    [((80, 0), INSTANCE), ((2, 1), INSTANCE), ((2, 0), PANOPTIC), ((3, 0), PANOPTIC), ((1, 2), PANOPTIC)],
)
def test_other_counts_name_both_places(counts, metainfo):
    with pytest.raises(ValueError, match=f'num_things_classes={counts[0]}') as caught:
        check_class_counts(make_head(*counts), metainfo, 'train_dataloader.dataset')
    assert f'num_stuff_classes={counts[1]}' in str(caught.value)
    assert 'model.panoptic_head' in str(caught.value)
    assert f'train_dataloader.dataset has 2 thing classes and {len(metainfo["classes"]) - 2} stuff' in str(caught.value)


def test_each_phase_looks_at_its_own_data():
    good, bad = make_dataset(INSTANCE), make_dataset(PANOPTIC)
    hook, head = ClassCountCheckHook(), make_head(2, 0)
    for check, datasets, name in [
        (hook.before_train, (bad, good, good), 'train_dataloader'),
        (hook.before_train, (good, bad, good), 'val_dataloader'),
        (hook.before_val, (good, bad, good), 'val_dataloader'),
        (hook.before_test, (good, good, bad), 'test_dataloader'),
    ]:
        with pytest.raises(ValueError, match=f'{name}.dataset \\(BaseDataset'):
            check(make_runner(head, *datasets))
    hook.before_train(make_runner(head, good, None, bad))


def test_a_metric_that_takes_classes_by_their_order_is_rejected(tmp_path):
    categories = [dict(id=3, name='cat'), dict(id=5, name='cup')]
    path = tmp_path / 'val.json'
    path.write_text(json.dumps(dict(images=[dict(id=1)], annotations=[], categories=categories)))
    runner = make_runner(make_head(2, 0), *[make_dataset(INSTANCE)] * 3)
    hook = ClassCountCheckHook()
    for metric in (CheckedCocoMetric(str(path)), CocoMetric()):
        runner.val_evaluator.metrics = runner.test_evaluator.metrics = [metric]
        hook.before_train(runner)
    runner.val_evaluator.metrics = runner.test_evaluator.metrics = [CocoMetric(str(path))]
    for check in (hook.before_train, hook.before_val, hook.before_test):
        with pytest.raises(ValueError, match=r"\['cat', 'cup'\].*\['cup', 'cat'\].*CheckedCocoMetric"):
            check(runner)
    check_class_order(CocoMetric(str(path)), ('cat', 'cup'))


def test_datasets_inside_wrappers_are_checked():
    first, second = make_dataset(INSTANCE), make_dataset({'classes': ('cup', 'cat', 'dog')})
    repeated = RepeatDataset(second, times=2, lazy_init=True)
    assert list(iterate_datasets(repeated)) == [second]
    wrapped = ConcatDataset([first, second], lazy_init=True)
    assert list(iterate_datasets(SimpleNamespace(dataset=wrapped))) == [first, second]
    with pytest.raises(ValueError, match='3 thing classes and 0 stuff classes'):
        ClassCountCheckHook().before_train(make_runner(make_head(2, 0), wrapped))


def test_distributed_model(monkeypatch):
    model = torch.nn.Linear(1, 1)
    model.panoptic_head = make_head(3, 0)
    wrapper = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    torch.nn.Module.__init__(wrapper)
    wrapper.module = model
    runner = make_runner(None, make_dataset(INSTANCE))
    runner.model = wrapper
    with pytest.raises(ValueError, match='num_things_classes=3'):
        ClassCountCheckHook().before_train(runner)


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


def make_loading_runner(classes, head='panoptic_head', train=None, test=None, resume=False):
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
    runner, checkpoint = make_loading_runner(['cup', 'bird', 'cat']), make_checkpoint(('cat', 'dog', 'cup'))
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert checkpoint['state_dict'][f'panoptic_head.{HEAD}'].tolist() == [2, -1, 0]
    assert len(runner.warnings) == 1 and '2 of 3 classes' in runner.warnings[0]


def test_head_of_a_detector_in_a_segmentor():
    runner = make_loading_runner(['cup', 'cat'], head='decode_head')
    checkpoint = make_checkpoint(['cat', 'cup'])
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert set(checkpoint['state_dict']) == set(runner.model.state_dict()) - {'decode_head.heads.norm.weight'}
    assert checkpoint['state_dict'][f'decode_head.{HEAD}'].tolist() == [1, 0]


def test_same_classes_say_nothing():
    runner, checkpoint = make_loading_runner(['cup', 'cat']), make_checkpoint(('cup', 'cat'))
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert runner.warnings == [] and checkpoint['state_dict'][f'panoptic_head.{HEAD}'].tolist() == [0, 1]


def test_resumed_run_is_left_alone():
    runner, checkpoint = make_loading_runner(['cup', 'cat'], resume=True), make_checkpoint(['cat', 'cup'])
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert runner.warnings == [] and checkpoint['state_dict'][f'panoptic_head.{HEAD}'].tolist() == [0, 1]


def test_classes_of_the_running_phase():
    """In a test the training loop is a config that was never built."""
    runner = make_loading_runner(['cup', 'cat'], train=dict(type='IterBasedTrainLoop'), test=Loop(['cup', 'cat']))
    checkpoint = make_checkpoint(['cat', 'cup'])
    ClassMatchingHook().after_load_checkpoint(runner, checkpoint)
    assert checkpoint['state_dict'][f'panoptic_head.{HEAD}'].tolist() == [1, 0]


@pytest.mark.parametrize('content', [dict(state_dict={'backbone.conv1.weight': torch.zeros(1)}), {}])
def test_other_checkpoints_are_left_alone(content):
    runner = make_loading_runner(['cup'])
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
