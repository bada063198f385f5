"""What setup.py puts into an sdist and a wheel, and what an installed wheel does outside of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
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


ADDRESS = 'https://example.org/someone/mmmaskdino'


@pytest.fixture(scope='module')
def sdist(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy, because building leaves folders behind."""
    copy = tmp_path_factory.mktemp('project')
    for name in [*PACKAGED, 'MANIFEST.in', 'README.md', 'LICENSE', 'CHANGELOG.md', 'CITATION.cff']:
        if (project_root / name).is_dir():
            shutil.copytree(project_root / name, copy / name, ignore=shutil.ignore_patterns('.mim', '__pycache__'))
        else:
            shutil.copy(project_root / name, copy)
    build = "from setuptools import build_meta; build_meta.build_sdist('.')"
    subprocess.run([sys.executable, '-c', build], cwd=copy, check=True, capture_output=True)
    return next(copy.glob('*.tar.gz'))


@pytest.fixture(scope='module')
def wheel_file(sdist: Path) -> Path:
    """Built from the sdist, as the release does."""
    command = [
        sys.executable,
        '-m',
        'pip',
        'wheel',
        '-q',
        '--no-deps',
        '--no-build-isolation',
        '-w',
        sdist.parent,
        sdist,
    ]
    subprocess.run(command, check=True, env=os.environ | {'MMMASKDINO_ADDRESS': f'{ADDRESS}/'})
    return next(sdist.parent.glob('*.whl'))


@pytest.fixture(scope='module')
def wheel(wheel_file: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(wheel_file)


@pytest.fixture(scope='module')
def installed(wheel_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a new environment: the wheel, and of the environment of the tests what it depends on."""
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder)
    place = next(folder.glob('lib/python*/site-packages'))
    python = folder / 'bin' / 'python'
    pip = [sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-deps', '--no-index', wheel_file]
    subprocess.run(pip, check=True)
    # Folders that a .pth file names are searched last, and the editable installation in them is not found.
    (place / 'dependencies.pth').write_text(sysconfig.get_path('purelib'))
    return folder / 'bin'


def test_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition('/')[2] for name in archive.getnames()}
    assert {'CHANGELOG.md', 'CITATION.cff', 'LICENSE', 'requirements/runtime.txt', 'tools/train.py'} <= names
    assert 'configs/maskdino/maskdino_r50_coco_panoptic.py' in names
    assert not any('.mim' in name or '__pycache__' in name for name in names)


@pytest.mark.slow
def test_outside_of_the_repository(installed: Path, project_root: Path, tmp_path: Path) -> None:
    """Commands and Python find the configs by name."""
    kept = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    done = subprocess.run(
        ['bash', str(project_root / '.ci' / 'try_installed.sh'), str(tmp_path)],
        env=kept | {'PATH': f'{installed}{os.pathsep}{kept["PATH"]}'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line for line in done.stdout.splitlines() if line.endswith('.py') and 'site-packages/mmmaskdino/' in line]
    assert [Path(line).name for line in found] == ['__init__.py', 'maskdino_r18_shapes_panoptic.py']
    assert all(Path(line).is_relative_to(installed.parent) for line in found)
    assert len(list((tmp_path / 'out' / 'pictures').glob('*.jpg'))) == 2


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


def metadata_of(wheel: zipfile.ZipFile) -> str:
    return wheel.read(f'mmmaskdino-{__version__}.dist-info/METADATA').decode()


def test_links_of_the_readme_work_on_a_package_index(wheel: zipfile.ZipFile) -> None:
    metadata = metadata_of(wheel)
    assert f'Project-URL: Source, {ADDRESS}\n' in metadata and f'Project-URL: Issues, {ADDRESS}/issues' in metadata
    links = re.findall(r'\]\(([^)]+)\)', metadata)
    assert len(links) > 20 and [link for link in links if not link.startswith(('https://', '#'))] == []
    assert f'{ADDRESS}/blob/v{__version__}/docs/get_started.md' in links
    assert f'{ADDRESS}/raw/v{__version__}/docs/images/quickstart.jpg' in links


def test_types_are_promised(wheel: zipfile.ZipFile) -> None:
    assert 'mmmaskdino/py.typed' in wheel.namelist()
    assert 'Classifier: Typing :: Typed' in metadata_of(wheel)


def test_metadata(wheel: zipfile.ZipFile) -> None:
    lines = metadata_of(wheel).splitlines()
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
