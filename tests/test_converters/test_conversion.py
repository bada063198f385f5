import pytest
import torch

from mmmaskdino.converters import Conversion, verify
from mmmaskdino.converters.conversion import join, rename
from mmmaskdino.converters.names import NameRules

GOOD = Conversion({'b': torch.zeros(2)}, {'a': 'b'}, {'c': 'not needed'})
SHAPES = {'b': torch.Size([2])}


def test_complete():
    assert verify(GOOD, ['a', 'c'], SHAPES) == {}


def test_what_stays_random_has_a_reason():
    absent = GOOD._replace(absent={r'head\.': 'no masks'})
    shapes = SHAPES | {'head.bias': torch.Size([1]), 'norm.num_batches_tracked': torch.Size([])}
    assert verify(absent, ['a', 'c'], shapes) == {'head.bias': 'no masks'}
    with pytest.raises(ValueError, match=r'head.bias: missing, the model has it with shape \(1,\)'):
        verify(GOOD, ['a', 'c'], shapes)


@pytest.mark.parametrize(
    ('conversion', 'source', 'shapes', 'problem'),
    [
        (GOOD, ['a', 'c'], {}, 'b: unexpected'),
        (GOOD, ['a', 'c'], {'b': torch.Size([3])}, r'b: expected shape \(3,\), got \(2,\)'),
        (GOOD, ['a', 'c', 'd'], SHAPES, 'd: neither used nor dropped'),
        (GOOD, ['a'], SHAPES, 'c: not in the source'),
        (GOOD._replace(dropped={'a': 'x'}), ['a'], SHAPES, 'a: both used and dropped'),
        (GOOD._replace(used={'a': 'b', 'd': 'b'}), ['a', 'c', 'd'], SHAPES, 'not exactly one origin'),
        (GOOD._replace(used={}), ['c'], SHAPES, 'not exactly one origin'),
        (GOOD._replace(added={'b': 'zero'}), ['a', 'c'], SHAPES, 'not exactly one origin'),
    ],
)
def test_problem_is_named(conversion, source, shapes, problem):
    with pytest.raises(ValueError, match=problem):
        verify(conversion, source, shapes)


def test_many_problems_are_shortened():
    shapes = SHAPES | {f'layer.{i}': torch.Size([1]) for i in range(30)}
    with pytest.raises(ValueError, match=r'\(30 problems\)[\s\S]*and 10 more'):
        verify(GOOD, ['a', 'c'], shapes)


def test_prefixes():
    named = GOOD._replace(added={'d': 'zero'}, absent={r'e\.': 'why'}).renamed('there.', 'here.')
    assert list(named.tensors) == ['here.b'] and named.used == {'there.a': 'here.b'}
    assert named.dropped == {'there.c': 'not needed'} and named.added == {'here.d': 'zero'}
    assert named.absent == {r'here\.e\.': 'why'}
    both = join(GOOD, named)
    assert set(both.tensors) == {'b', 'here.b'} and set(both.dropped) == {'c', 'there.c'}


def test_two_tensors_with_one_new_name_are_rejected():
    with pytest.raises(ValueError, match='b and another tensor of a model are both x here'):
        rename({'a': torch.zeros(1), 'b': torch.zeros(1)}, lambda name: 'x', 'a model')


def test_rules_in_both_directions():
    rules = NameRules(('stem.conv.', 'conv1.'), ('res{}.{}.norm.', 'layer{}.{}.bn.'), ('level_embed', 'embedding'))
    names = {'stem.conv.weight': 'conv1.weight', 'res2.10.norm.a.b': 'layer2.10.bn.a.b', 'level_embed': 'embedding'}
    assert {name: rules.forward(name) for name in names} == names
    assert {rules.backward(name): name for name in names.values()} == names
    for foreign in ('stem.conv', 'stem_conv.weight', 'res2.x.norm.a', 'level_embed.weight', 'my.stem.conv.weight'):
        assert rules.forward(foreign) is None
