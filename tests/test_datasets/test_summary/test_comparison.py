"""Whether parts fit each other."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from mmmaskdino.datasets.summary import SplitSummary, compare_parts, find_unused_classes
from mmmaskdino.datasets.summary.layout import Split


def make(name: str, classes: tuple[str, ...], objects: dict[int, int], kind: str = 'instance') -> SplitSummary:
    split = Split(kind, name, Path('data'), name, ann_file=f'{name}.json')
    return SplitSummary(split, classes=classes, objects=Counter(objects))


def test_parts_that_fit() -> None:
    train = make('train', ('cup', 'cat'), {0: 3, 1: 1})
    assert compare_parts([train]) == []
    assert compare_parts([train, make('val', ('cat', 'cup'), {0: 1})]) == [], 'the order does not matter'
    assert compare_parts([train, make('val', (), {})]) == [], 'a file in which nothing could be read'
    assert compare_parts([make('a', ('x',), {0: 1}, 'semantic'), make('b', ('y',), {0: 1}, 'semantic')]) == []


def test_other_classes() -> None:
    parts = [make('train', ('cup', 'cat'), {0: 1}), make('val', ('cup', 'dog'), {0: 1})]
    (problem,) = compare_parts(parts)
    assert problem.startswith('data/train.json and data/val.json have different classes: ')
    assert 'data/train.json lacks ["dog"], data/val.json lacks ["cat"]; give both the same' in problem


def test_masks_in_one_part_alone() -> None:
    train = make('train', ('cup',), {0: 1})
    val = dataclasses.replace(make('val', ('cup',), {0: 1}), has_masks=False)
    (problem,) = compare_parts([val, train])
    assert problem.startswith('data/train.json has masks, data/val.json has boxes alone') and '--boxes-only' in problem
    assert compare_parts([train, dataclasses.replace(val, objects=Counter())]) == [], 'nothing there has masks'


def test_classes_that_no_part_has() -> None:
    train = make('train', ('objects', 'cup', 'cat', 'dog'), {1: 3})
    val = make('val', ('dog', 'cat', 'cup', 'objects'), {0: 1})
    assert find_unused_classes([train, val]) == ['objects', 'cat']
    assert find_unused_classes([make('train', ('cup',), {})]) == [], 'without any object nothing can be told'
