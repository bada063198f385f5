"""Sizes and numbers of the small model follow from the data."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mmmaskdino.apis.data import Split, SplitSummary, choose_recipe
from mmmaskdino.datasets.files import DataError
from mmmaskdino.models.layers.query_init import EncoderQuerySelection


def summary_of(
    num_images: int = 200, size: tuple[int, int] = (640, 480), objects: int = 3, share: float = 0.04, stuff: int = 0
) -> SplitSummary:
    """Images alike, each with some objects of one class that have a share of its area, in boxes of twice that."""
    classes = ('a', *(f'stuff {number}' for number in range(stuff)))
    return SplitSummary(
        Split('panoptic' if stuff else 'instance', 'train', Path('data'), ''),
        classes=classes,
        num_things=1,
        num_images=num_images,
        sizes=[size] * num_images,
        objects=Counter({0: objects * num_images}),
        images=Counter({0: num_images}),
        areas=[share * size[0] * size[1]] * (objects * num_images),
        objects_per_image=[objects] * num_images,
        box_sizes=[(2 * share) ** 0.5] * (objects * num_images),
    )


def test_few_large_objects() -> None:
    recipe = choose_recipe([summary_of(stuff=2)])
    assert (recipe.side, recipe.num_queries, recipe.box_point_share) == (256, 50, 0.0)
    assert recipe.proposal_sizes == (0.28, 0.28, 0.28)


def test_many_small_objects_alike() -> None:
    recipe = choose_recipe([summary_of(objects=40, share=0.001, stuff=2)])
    assert (recipe.side, recipe.num_queries, recipe.box_point_share) == (512, 60, 0.5)
    assert recipe.proposal_sizes == (0.04, 0.04, 0.04)
    assert choose_recipe([summary_of(objects=1000)]).num_queries == 300


def test_objects_that_fill_their_images() -> None:
    recipe = choose_recipe([summary_of(objects=1, share=0.49)])
    assert recipe.proposal_sizes == (0.9, 0.9, 0.9)
    assert max(recipe.proposal_sizes) < EncoderQuerySelection.proposal_range[1]


@pytest.mark.parametrize(('width', 'side'), [(128, 128), (100, 128), (300, 320), (4000, 384)])
def test_images_are_not_enlarged(width: int, side: int) -> None:
    """But for the stride of the maps, and where files are larger the objects decide."""
    recipe = choose_recipe([summary_of(size=(width, width), share=0.003)])
    assert recipe.side == side and recipe.side % 32 == 0


def test_steps() -> None:
    recipes = [choose_recipe([summary_of(number)]) for number in (10, 500, 100_000)]
    assert [recipe.iters for recipe in recipes] == [1000, 7500, 20000]
    assert choose_recipe([summary_of(500)], epochs=4).iters == 1000
    assert choose_recipe([summary_of(500)], num_processes=2, epochs=4).iters == 500
    assert choose_recipe([summary_of(500)], epochs=4, iters=7).iters == 7


def test_images_seen_often_vary_more() -> None:
    few, many = (choose_recipe([summary_of(200)], epochs=epochs).scales for epochs in (3, 30))
    assert few == (0.8, 1.25) and many == (0.5, 2.0)


def test_every_choice_has_its_reason() -> None:
    recipe = choose_recipe([summary_of(240, objects=12, share=0.002)], side=192)
    text = '\n'.join(recipe.reasons)
    for part in (
        '50 queries: 12 objects in the usual image',
        '512 points',
        'half of them in the boxes of objects',
        '0.20% of its image',
        '3600 steps of 2 images: each of the 240 images 30 times',
    ):
        assert part in text
    assert recipe.side == 192
    assert len(choose_recipe([summary_of()]).reasons) == len(recipe.reasons) + 1, 'a side that is given needs no reason'


def test_data_without_objects_or_a_part_to_train_on() -> None:
    empty = summary_of(objects=0)
    assert choose_recipe([empty]).num_queries == 50
    parts = [summary_of(), summary_of()]
    for part, name in zip(parts, 'ab', strict=True):
        part.split = part.split._replace(name=name)
    with pytest.raises(DataError, match="is called 'train'"):
        choose_recipe(parts)
