from __future__ import annotations

from pathlib import Path

import pytest

from mmmaskdino.datasets.shapes import make_shapes_dataset


@pytest.fixture(scope='session')
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated dataset of all three kinds, 6 training and 4 validation images of 64 x 64."""
    return make_shapes_dataset(tmp_path_factory.mktemp('data') / 'shapes', 6, 4, size=64, progress=False)
