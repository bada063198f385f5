import pytest
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.config import ConfigDict

from mmmaskdino.datasets import LoadCheckedAnnotations
from mmmaskdino.datasets.pipelines import dataset_with_pipeline, prediction_dataset, replace_step, step_name


def test_wrappers_are_passed_through() -> None:
    inner = dict(type='CocoDataset', pipeline=[])
    assert dataset_with_pipeline(inner) is inner
    repeated = ConfigDict(type='RepeatDataset', dataset=dict(type='ClassBalancedDataset', dataset=inner))
    assert dataset_with_pipeline(repeated) == inner
    mixed = dict(type='MultiImageMixDataset', dataset=inner, pipeline=[dict(type='Mosaic')])
    assert dataset_with_pipeline(mixed) is mixed, 'the pipeline that is run last'
    assert dataset_with_pipeline({}) == {}


def test_images_are_prepared_as_for_the_test_or_else_for_the_validation() -> None:
    """mmengine's runner writes None for what a run does not have."""
    test, val = (dict(dataset=dict(type=name, pipeline=[])) for name in ('test', 'val'))
    assert prediction_dataset(ConfigDict(test_dataloader=test, val_dataloader=val)).type == 'test'
    assert prediction_dataset(ConfigDict(test_dataloader=None, val_dataloader=val)).type == 'val'
    with pytest.raises(ValueError, match='no test_dataloader and no val_dataloader'):
        prediction_dataset(ConfigDict(test_dataloader=None))


def test_names() -> None:
    for kind in ('LoadAnnotations', 'mmdet.LoadAnnotations', LoadAnnotations):
        assert step_name(dict(type=kind)) == 'LoadAnnotations'
    assert step_name(LoadAnnotations()) == '' == step_name(print)


def test_only_steps_of_that_name_are_replaced() -> None:
    others = [dict(type='LoadImageFromFile'), LoadAnnotations(), dict(type='PackDetInputs'), print]
    for kind in ('LoadAnnotations', 'mmdet.LoadAnnotations', LoadAnnotations):
        pipeline = [dict(type=kind, with_mask=True), *others]
        replaced = replace_step(pipeline, 'LoadAnnotations', LoadCheckedAnnotations)
        assert replaced == [dict(type=LoadCheckedAnnotations, with_mask=True), *others]
        assert pipeline[0]['type'] == kind
