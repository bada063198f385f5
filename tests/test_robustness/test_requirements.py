"""All that is installed is pinned with ranges, within which the tested environment lies."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from setuptools import Distribution

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / 'requirements').glob('*.txt'))
UPPER = {'<', '<=', '==', '~='}


def read(path: Path) -> list[Requirement]:
    """The requirements of a file, without those of the files that it includes."""
    lines = (line.partition('#')[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith('-r ')]


def has_upper_bound(requirement: Requirement) -> bool:
    return any(part.operator in UPPER for part in requirement.specifier)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_requirement_has_bounds(path: Path) -> None:
    requirements = read(path)
    assert [item.name for item in requirements if not has_upper_bound(item)] == []
    fixed = {'==', '~='}
    lower = [item for item in requirements if {part.operator for part in item.specifier} & ({'>', '>='} | fixed)]
    assert lower == requirements


@pytest.mark.parametrize('name', ['runtime', 'tests', 'export', 'page'])
def test_what_is_installed_lies_within(name: str) -> None:
    requirements = read(ROOT / 'requirements' / f'{name}.txt')
    assert requirements
    assert [str(item) for item in requirements if version(item.name) not in item.specifier] == []


def test_the_installed_package_asks_for_bounds_only(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What setup.py and pyproject.toml hand to pip."""
    from distutils.core import run_setup

    monkeypatch.chdir(project_root)
    distribution: Distribution = run_setup(str(project_root / 'setup.py'), stop_after='init')
    asked = [
        *distribution.install_requires,
        *(line for lines in distribution.extras_require.values() for line in lines),
    ]
    build = re.search(r'^requires = \[(.+)\]$', (project_root / 'pyproject.toml').read_text(), re.MULTILINE)[1]
    asked += [line.strip(' "') for line in re.split(r',(?=\s*")', build)]
    assert len(asked) > 20
    assert [line for line in asked if not has_upper_bound(Requirement(re.sub(r'\s+#.*', '', line)))] == []
