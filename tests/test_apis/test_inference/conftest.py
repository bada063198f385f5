"""Pictures to predict for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def make_image(tmp_path: Path) -> Callable[..., Path]:
    """Writes a picture of smooth noise, (height, width)."""

    def make(name: str, size: tuple[int, int] = (50, 70)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(len(name)).integers(255, size=(5, 7, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC).save(path)
        return path

    return make
