"""The classes of the model, of the datasets and of the checkpoint that a run starts from."""

from collections.abc import Iterator, Sequence
from typing import Any

from mmdet.evaluation import CocoMetric
from mmengine.evaluator import Evaluator
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from mmmaskdino.converters.classes import adapt_classes, head_prefix
from mmmaskdino.engine.faults import SafetyHook
from mmmaskdino.evaluation.coco_metric import CheckedCocoMetric


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class ClassCountCheckHook(SafetyHook):
    """Raises at the start where the head and a dataset do not have the same classes.

    Fewer classes in the head end in an index error on the device somewhere in the first epoch, more of them in silence.
    mmdet's `NumClassCheckHook` knows no stuff and looks at each epoch only. It rejects mmdet's `CocoMetric`, too, where
    that would take a label for another class.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training and the validation data before the first step.

        Args:
            runner: Has the model and the data.

        Raises:
            ValueError: The class counts differ.
        """
        self._check(runner, runner.train_dataloader.dataset, 'train_dataloader')
        if runner.val_loop is not None:
            self._check(runner, runner.val_dataloader.dataset, 'val_dataloader')
            self._check_metrics(runner.val_evaluator, runner.val_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Check the validation data; see :meth:`before_train`."""
        self._check(runner, runner.val_dataloader.dataset, 'val_dataloader')
        self._check_metrics(runner.val_evaluator, runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Check the test data; see :meth:`before_train`."""
        self._check(runner, runner.test_dataloader.dataset, 'test_dataloader')
        self._check_metrics(runner.test_evaluator, runner.test_dataloader.dataset)

    def _check(self, runner: Runner, dataset: Any, dataloader_name: str) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for part in iterate_datasets(dataset):
            place = f'{dataloader_name}.dataset ({type(part).__name__}, {getattr(part, "ann_file", "no ann_file")})'
            if hasattr(model, 'decode_head'):
                check_num_classes(model.decode_head, part.metainfo, place)
            else:
                check_class_counts(model.panoptic_head, part.metainfo, place)

    def _check_metrics(self, evaluator: Evaluator, dataset: Any) -> None:
        for metric in evaluator.metrics:
            check_class_order(metric, dataset.metainfo['classes'])


def check_class_order(metric: Any, classes: Sequence[str]) -> None:
    """Reject mmdet's `CocoMetric` where it would take labels for others.

    Args:
        metric: Any metric.
        classes: Names of the dataset's classes.

    Raises:
        ValueError: The metric takes the classes in the order of the file, which is another one.
    """
    api = getattr(metric, '_coco_api', None)
    if not isinstance(metric, CocoMetric) or isinstance(metric, CheckedCocoMetric) or api is None:
        return
    names = [category['name'] for category in api.dataset['categories'] if category['name'] in classes]
    if names != [name for name in classes if name in names]:
        raise ValueError(
            f"the evaluator's CocoMetric takes the classes in the order of its annotation file, {names}, but the "
            f"dataset has them as {list(classes)}; set type='CheckedCocoMetric', which finds them by name"
        )


def iterate_datasets(dataset: Any) -> Iterator[Any]:
    """Find the datasets inside wrappers such as `ConcatDataset` and `RepeatDataset`.

    Args:
        dataset: A dataset or wrapper.

    Yields:
        The datasets that hold the data.
    """
    if hasattr(dataset, 'datasets'):
        for part in dataset.datasets:
            yield from iterate_datasets(part)
    elif hasattr(dataset, 'dataset'):
        yield from iterate_datasets(dataset.dataset)
    else:
        yield dataset


def check_class_counts(head: Any, metainfo: dict, place: str) -> None:
    """Compare the class counts of a head with the classes of a dataset.

    Args:
        head: Has `num_things_classes` and `num_stuff_classes`.
        metainfo: The dataset's, with `classes`, and with `thing_classes` and `stuff_classes` if it is panoptic.
        place: Config key of the dataset, for the message.

    Raises:
        ValueError: They differ; both config keys are named.
    """
    stuff = metainfo.get('stuff_classes', ())
    things = metainfo.get('thing_classes', metainfo['classes'])
    expected = (len(things), len(stuff))
    if (head.num_things_classes, head.num_stuff_classes) != expected:
        raise ValueError(
            f'model.panoptic_head has num_things_classes={head.num_things_classes} and '
            f'num_stuff_classes={head.num_stuff_classes}, but {place} has {expected[0]} thing classes and '
            f'{expected[1]} stuff classes (metainfo.classes, thing_classes, stuff_classes); make them equal'
        )


def check_num_classes(decode_head: Any, metainfo: dict, place: str) -> None:
    """Compare the class count of a decode head of mmseg with the classes of a dataset.

    Args:
        decode_head: Has `num_classes`.
        metainfo: The dataset's, with `classes`.
        place: Config key of the dataset, for the message.

    Raises:
        ValueError: They differ; both config keys are named.
    """
    expected = len(metainfo['classes'])
    if decode_head.num_classes != expected:
        raise ValueError(
            f'model.decode_head has num_classes={decode_head.num_classes}, but {place} has {expected} classes '
            '(metainfo.classes); make them equal'
        )


@HOOKS.register_module()  # of mmengine, so that mmdet and mmseg find it
class ClassMatchingHook(SafetyHook):
    """Fits the class head and the label embedding of a loaded checkpoint to the classes of the run.

    Classes are matched by the names in the checkpoint's `meta.dataset_meta.classes` and in the dataset's metainfo. The
    head may be at another place of the model: that of a detector serves a semantic segmentor, and the other way round.
    Resumed runs are left alone.
    """

    # Before EMAHook, which copies the checkpoint.
    priority = 'HIGH'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Change the loaded weights in place, and say so once.

        Args:
            runner: Has the model and the data.
            checkpoint: What was loaded.
        """
        state = checkpoint.get('state_dict', checkpoint)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        own = model.state_dict()
        ours, theirs = head_prefix(own), head_prefix(state)
        if runner._resume or ours is None or theirs is None:
            return
        if theirs != ours:
            for name in [name for name in state if name.startswith(theirs)]:
                state[ours + name.removeprefix(theirs)] = state.pop(name)
        meta = checkpoint.get('meta') or {}
        source = (meta.get('dataset_meta') or {}).get('classes')
        if summary := adapt_classes(state, own, source, _classes_of_run(runner)):
            runner.logger.warning(summary)


def _classes_of_run(runner: Runner) -> Sequence[str] | None:
    # The runner's properties would build the loops that this run does not need.
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        if isinstance(loop, BaseLoop):
            return loop.dataloader.dataset.metainfo.get('classes')
    return None
