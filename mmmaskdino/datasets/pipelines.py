"""Questions to the config of a dataset about its pipeline."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


def dataset_with_pipeline(dataset: Any) -> Any:
    """The config of the dataset that has the pipeline, without wrappers such as `RepeatDataset` around it.

    Args:
        dataset: A config as of `test_dataloader.dataset`.
    """
    while 'pipeline' not in dataset and 'dataset' in dataset:
        dataset = dataset['dataset']
    return dataset


def prediction_dataset(cfg: Mapping[str, Any]) -> Any:
    """The config of the dataset whose pipeline prepares images for prediction: that of the test, or else validation.

    Args:
        cfg: A whole config.

    Raises:
        ValueError: It has neither.
    """
    for key in ('test_dataloader', 'val_dataloader'):
        if cfg.get(key):
            return dataset_with_pipeline(cfg[key]['dataset'])
    raise ValueError(
        'the config has no test_dataloader and no val_dataloader, so it does not say how images are prepared for the '
        'model: add one of them, with dataset.pipeline'
    )


def step_name(step: Any) -> str:
    """The name of a step's class without its scope; '' of a transform that is built already.

    Args:
        step: The config of a transform, its type a class or a name, or a transform.
    """
    kind = step['type'] if isinstance(step, dict) else ''
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def replace_step(pipeline: Sequence[dict | Callable], name: str, kind: type) -> list[dict | Callable]:
    """Put another type in the place of a step, with the same arguments.

    Configs keep naming the loaders of mmcv, mmdet and mmseg, because their inference finds them by these names.

    Args:
        pipeline: Configs of transforms, or transforms.
        name: The type that the configs name.
        kind: The type to build.

    Returns:
        A new list; the given configs are unchanged.
    """
    return [{**step, 'type': kind} if step_name(step) == name else step for step in pipeline]
