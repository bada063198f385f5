import json
from types import SimpleNamespace

import pytest
import torch
from mmdet.datasets import ConcatDataset
from mmdet.evaluation import CocoMetric
from mmdet.registry import HOOKS
from mmengine.dataset import BaseDataset, RepeatDataset
from mmengine.model import MMDistributedDataParallel

from mmmaskdino.engine import ClassCountCheckHook
from mmmaskdino.engine.class_count_hook import check_class_counts, check_class_order, iterate_datasets
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
