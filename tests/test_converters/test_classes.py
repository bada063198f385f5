import pytest
import torch

from mmmaskdino.converters.classes import adapt_classes, head_prefix, match_classes, take_rows

PREFIX = 'panoptic_head.'


def make_state(num_rows, num_labels=None, prefix=PREFIX, offset=0.0):
    """Class tensors whose rows hold their own number."""
    rows, labels = torch.arange(num_rows) + offset, torch.arange(num_labels or num_rows) + offset
    return {
        f'{prefix}heads.classify.weight': rows[:, None].repeat(1, 4),
        f'{prefix}heads.classify.bias': rows.clone(),
        f'{prefix}denoising.label_embedding.weight': labels[:, None].repeat(1, 4),
        f'{prefix}heads.norm.weight': torch.ones(4),
    }


def rows_of(state):
    return {
        name.removeprefix(PREFIX): t.flatten(1)[:, 0].tolist() if t.dim() > 1 else t.tolist()
        for name, t in state.items()
    }


def test_names_are_matched_wherever_they_are():
    assert match_classes(['cat', 'dog', 'wall'], ['wall', 'bird', 'cat']) == {0: 2, 2: 0}


@pytest.mark.parametrize(('there', 'here'), [('Traffic Light', 'traffic light'), ('floor-wood', 'floor_wood')])
def test_spelling_does_not_count(there, here):
    assert match_classes(['Person', there], [here]) == {0: 1}


def test_a_spelling_that_two_classes_share_is_no_match():
    assert match_classes(['Bank', 'bank'], ['bank', 'BANK']) == {0: 1}
    assert match_classes(['Bank'], ['bank', 'BANK']) == {}


def test_rows_by_name_and_the_rest_from_the_model():
    state, model = make_state(3), make_state(4, offset=10.0)
    summary = adapt_classes(state, model, ['cat', 'dog', 'cup'], ['cup', 'bird', 'cat', 'wall'])
    for name in ('heads.classify.weight', 'heads.classify.bias', 'denoising.label_embedding.weight'):
        assert rows_of(state)[name] == [2, 11, 0, 13]
    assert torch.equal(state[PREFIX + 'heads.norm.weight'], torch.ones(4))
    assert rows_of(model)['heads.classify.bias'] == [10, 11, 12, 13]
    assert summary == (
        '2 of 4 classes are taken by name from the 3 of the weights. New, at their initialisation: bird, wall. '
        'Not used: dog.'
    )


def test_same_number_of_classes_in_another_order():
    state = make_state(2)
    assert '2 of 2' in adapt_classes(state, make_state(2, offset=10.0), ['cat', 'dog'], ['dog', 'cat'])
    assert rows_of(state)['heads.classify.bias'] == [1, 0]


def test_same_classes_are_left_alone():
    state = make_state(2)
    before = dict(state)
    assert adapt_classes(state, make_state(2), ['cat', 'dog'], ('cat', 'dog')) is None
    assert all(state[name] is before[name] for name in before)


def test_no_object_goes_with_no_object():
    state, model = make_state(3, 2), make_state(4, 3, offset=10.0)  # the last row of the class head is no object
    adapt_classes(state, model, ['cat', 'dog'], ['cup', 'dog', 'sky'])
    assert rows_of(state)['heads.classify.bias'] == [10, 1, 12, 2]
    assert rows_of(state)['denoising.label_embedding.weight'] == [10, 1, 12]
    state = make_state(2)
    adapt_classes(state, model, ['cat', 'dog'], ['cup', 'dog', 'sky'])
    assert rows_of(state)['heads.classify.bias'] == [10, 1, 12, 13]


@pytest.mark.parametrize(('source', 'target', 'whose'), [(None, ['a'], 'weights'), (['a'], None, 'dataset')])
def test_without_names(source, target, whose):
    state, model = make_state(3), make_state(2, offset=10.0)
    summary = adapt_classes(state, model, source, target)
    assert f'class names of the {whose} are not known' in summary and 'stay at their initialisation' in summary
    assert rows_of(state)['heads.classify.bias'] == [10, 11]
    state = make_state(2)
    assert 'were loaded in their order' in adapt_classes(state, model, source, target)
    assert rows_of(state)['heads.classify.bias'] == [0, 1]


def test_another_width_stays_at_its_initialisation():
    initial = torch.full((2, 8), 7.0)
    assert torch.equal(take_rows(torch.zeros(2, 4), initial, {0: 1, 1: 0}, 2, 2), initial)


def test_long_lists_are_shortened():
    names = [f'class {i}' for i in range(30)]
    summary = adapt_classes(make_state(1), make_state(30), ['cat'], names)
    assert 'class 11 and 18 more' in summary and 'class 12' not in summary


def test_place_of_the_head():
    assert head_prefix(list(make_state(1, prefix='decode_head.'))) == 'decode_head.'
    assert head_prefix(['backbone.conv1.weight']) is None
