"""What setup.py puts into a wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mmmaskdino import __version__

PACKAGED = [
    'mmmaskdino',
    'mmmaskdino_cli.py',
    'configs',
    'tools',
    'requirements',
    'model-index.yml',
    'setup.py',
    'pyproject.toml',
]


@pytest.fixture(scope='module')
def wheel(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built in a copy, because building leaves a `build` folder behind."""
    copy = tmp_path_factory.mktemp('project')
    for name in [*PACKAGED, 'mmmaskdino_cli.py', 'MANIFEST.in', 'README.md', 'LICENSE']:
        if (project_root / name).is_dir():
            shutil.copytree(project_root / name, copy / name, ignore=shutil.ignore_patterns('.mim', '__pycache__'))
        else:
            shutil.copy(project_root / name, copy)
    command = [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', copy, copy]
    subprocess.run(command, check=True)
    return zipfile.ZipFile(next(copy.glob('*.whl')))


def test_configs_and_tools_are_where_mim_looks(wheel: zipfile.ZipFile, project_root: Path) -> None:
    packed = {name.removeprefix('mmmaskdino/.mim/') for name in wheel.namelist() if '/.mim/' in name}
    wanted = {
        str(path.relative_to(project_root))
        for folder in ('configs', 'tools')
        for path in (project_root / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }
    assert packed == wanted | {'model-index.yml'}


def test_every_module_is_packed(wheel: zipfile.ZipFile, project_root: Path) -> None:
    modules = {str(path.relative_to(project_root)) for path in (project_root / 'mmmaskdino').rglob('*.py')}
    modules.add('mmmaskdino_cli.py')
    assert {name for name in modules if '/.mim/' not in name} <= set(wheel.namelist())
    assert not any(name.startswith('tests') for name in wheel.namelist())


def test_command(wheel: zipfile.ZipFile) -> None:
    scripts = wheel.read(f'mmmaskdino-{__version__}.dist-info/entry_points.txt').decode()
    assert 'mmmaskdino = mmmaskdino_cli:main' in scripts


def test_metadata(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read(f'mmmaskdino-{__version__}.dist-info/METADATA').decode()
    lines = metadata.splitlines()
    assert f'Version: {__version__}' in lines
    assert 'Requires-Python: >=3.10' in lines
    required = [line.removeprefix('Requires-Dist: ') for line in lines if line.startswith('Requires-Dist')]
    unconditional = {line for line in required if 'extra' not in line}
    names = {re.match(r'[\w-]+', line)[0] for line in unconditional}
    assert {'numpy', 'timm', 'pycocotools'} <= names
    assert not any(line.startswith(('mm', 'onedl', 'torch')) for line in unconditional)
    # Without torch in sight pip would build mmcv without operators, so no extra asks for it.
    assert not any('mmcv' in line or line.startswith('torch') for line in required)
    assert any(line.startswith('onedl-mmdetection==3.5.1') for line in required)
    assert any(line.startswith('mmdet==3.3.0') for line in required)
