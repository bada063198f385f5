"""What the package needs is pinned with ranges, within which the tested environment lies."""

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement


@pytest.mark.parametrize('name', ['numpy', 'scipy', 'pycocotools', 'timm', 'pillow'])
def test_ranges(project_root: Path, name: str) -> None:
    lines = (project_root / 'requirements' / 'runtime.txt').read_text().splitlines()
    requirements = {item.name: item for item in map(Requirement, (line for line in lines if not line.startswith('#')))}
    specifier = requirements.pop(name).specifier
    assert {part.operator for part in specifier} == {'>=', '<'}
    assert version(name) in specifier
