"""The config that another inherits from: what it trains, and the size of its training images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmmaskdino.hub import find_config

# Settings of transforms that are sizes of images in pixels. The first two are what an image has in the end.
FINAL_SIZES = ('crop_size', 'size')
SIZES = (*FINAL_SIZES, 'scale', 'scales', 'max_size')
KINDS = dict(Panoptic='panoptic', Seg='semantic')


class BaseConfig:
    """A config to inherit from.

    Args:
        path: Its file, or the name of a config of the model zoo.

    Raises:
        ValueError: It cannot be read or has no training data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = find_config(path)
        try:
            self.cfg = Config.fromfile(str(path), import_custom_modules=False)
        except Exception as error:  # it is code, and may raise anything
            raise ValueError(f'{path}: the config cannot be read ({type(error).__name__}: {error})') from error
        if 'model' not in self.cfg or 'train_dataloader' not in self.cfg:
            raise ValueError(f"{path}: expected a config with 'model' and 'train_dataloader' to inherit from")
        self.dataset: ConfigDict = self.cfg.train_dataloader.dataset
        if 'pipeline' not in self.dataset:
            raise ValueError(
                f'{path}: its training data are wrapped in {self.dataset.get("type")}; expected a config whose '
                'train_dataloader.dataset has the pipeline itself'
            )

    def check_kind(self, kind: str) -> None:
        """Reject a config for other data.

        Args:
            kind: 'instance', 'detection', 'panoptic' or 'semantic'.

        Raises:
            ValueError: It trains data of another kind, or needs masks where there are none.
        """
        name = 'semantic' if 'decode_head' in self.cfg.model else None
        name = name or ('panoptic' if 'Panoptic' in str(self.dataset.type) else 'instance')
        if name != ('instance' if kind == 'detection' else kind):
            raise ValueError(
                f'{self.path}: the config trains {name} data, the data are {kind}; inherit from one for {kind} data '
                '(--base), or choose other data (--kind)'
            )
        if kind == 'detection' and any(step.get('with_mask') for step in self.dataset.pipeline):
            raise ValueError(
                f'{self.path}: the config trains masks, and the data are taken as boxes alone; inherit from a '
                'detection config (--base)'
            )

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of its training images in pixels; None where they keep the size of their files."""
        for keys in (FINAL_SIZES, SIZES):
            found = [step[key] for step in self.dataset.pipeline for key in keys if step.get(key)]
            if found:
                return _largest(found[-1])
        return None

    def resized_steps(self, side: int) -> dict[str, dict[str, Any]]:
        """What changes in the pipeline for images of another size.

        Args:
            side: The longer side of the training images in pixels.

        Returns:
            Arguments by the type of the step; all sizes change by one factor.
        """
        factor = side / max(self.image_size)
        steps: dict[str, dict[str, Any]] = {}
        for step in self.dataset.pipeline:
            sizes = {key: _scaled(step[key], factor) for key in SIZES if step.get(key)}
            if sizes and steps.setdefault(step.type, sizes) != sizes:
                raise ValueError(f'{self.path}: two {step.type} of different sizes; set the sizes by hand')
        return steps


def _largest(size: Any) -> tuple[int, int]:
    """(height, width) of a size of mmcv's transforms: a side, (width, height) or several of them."""
    if isinstance(size, (int, float)):
        return (int(size), int(size))
    if len(size) == 2 and all(isinstance(side, (int, float)) for side in size):
        return (int(size[0]), int(size[1]))
    return max(map(_largest, size), key=math.prod)


def _scaled(size: Any, factor: float) -> Any:
    if isinstance(size, (int, float)):
        return max(1, round(size * factor))
    return type(size)(_scaled(part, factor) for part in size)
