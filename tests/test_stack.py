"""Each fault of the stack, as tiny stand-in packages that a bare interpreter sees instead of the installed ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmmaskdino import stack

TORCH = """
__version__ = '2.9.0'
class zeros:
    def __init__(self, size): pass
    def numpy(self): return None
"""
GOOD = {
    'torch': TORCH,
    'torchvision': '',
    'mmengine': '',
    'mmcv': '',
    'mmcv/_ext': '',
    'mmdet': '',
    # As the real ones, talkative about optional parts.
    'mmdet/datasets': 'print("Could not import OneDL")',
    'mmdet/evaluation': 'import warnings; warnings.warn("faster_coco_eval is not installed")',
}
CURRENT_NAMES = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection')


class FakeStack:
    """A folder of stand-in modules and distributions."""

    def __init__(self, folder: Path, project_root: Path) -> None:
        self.folder = folder
        self.project_root = project_root
        for name, source in GOOD.items():
            self.write(name, source)
        self.distribute('torch', 'torchvision', 'numpy', *CURRENT_NAMES)

    def write(self, module: str, source: str) -> None:
        path = self.folder / module
        path = path.with_suffix('.py') if '/' in module else path / '__init__.py'
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)

    def remove(self, module: str) -> None:
        path = self.folder / module
        (path.with_suffix('.py') if '/' in module else path / '__init__.py').unlink()
        if '/' not in module:
            for rest in path.iterdir():
                rest.unlink()
            path.rmdir()

    def distribute(self, *names: str, version: str = '9.8.7') -> None:
        for name in names:
            info = self.folder / f'{name.replace("-", "_")}-{version}.dist-info'
            info.mkdir(exist_ok=True)
            (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')

    def withdraw(self, *names: str) -> None:
        for name in names:
            for info in self.folder.glob(f'{name.replace("-", "_")}-*.dist-info'):
                (info / 'METADATA').unlink()
                info.rmdir()

    def run(self, statement: str) -> subprocess.CompletedProcess:
        """Run a statement with -S: without the installed packages."""
        environment = {**os.environ, 'PYTHONPATH': f'{self.folder}{os.pathsep}{self.project_root}'}
        command = [sys.executable, '-S', '-B', '-c', statement]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def error(self) -> str:
        """The message that `import mmmaskdino` ends with."""
        result = self.run('import mmmaskdino')
        assert result.returncode == 1
        message = result.stderr.partition('mmmaskdino.stack.StackError: ')[2]
        assert message, result.stderr
        return message


@pytest.fixture
def fake(tmp_path: Path, project_root: Path) -> FakeStack:
    return FakeStack(tmp_path, project_root)


def command_of(message: str) -> str:
    return message.partition('fix it with: ')[2].splitlines()[0]


def test_complete_stack_passes(fake: FakeStack, project_root: Path) -> None:
    package = project_root / 'mmmaskdino'
    result = fake.run(f'import sys; sys.path.append({str(package)!r}); import stack; stack.check_stack()')
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')


def test_installed_stack_passes() -> None:
    stack.check_stack()


@pytest.mark.parametrize(
    ('module', 'project', 'command'),
    [
        ('torch', 'torch', 'pip install torch torchvision'),
        ('torchvision', 'torchvision', 'pip install torchvision "torch==2.9.0"'),
        ('mmengine', 'onedl-mmengine', 'pip install "onedl-mmengine==0.10.12"'),
        ('mmcv', 'onedl-mmcv', 'pip install --no-build-isolation --no-cache-dir "onedl-mmcv==2.3.6"'),
        ('mmdet', 'onedl-mmdetection', 'pip install "onedl-mmdetection==3.5.1"'),
    ],
)
def test_missing_package(fake: FakeStack, module: str, project: str, command: str) -> None:
    fake.remove(module)
    fake.withdraw(project)
    message = fake.error()
    assert f'{module} is ' in message.splitlines()[0]
    assert command_of(message) == command


def test_mmcv_without_operators(fake: FakeStack) -> None:
    fake.remove('mmcv/_ext')
    message = fake.error()
    assert 'without its compiled operators' in message
    assert command_of(message) == (
        'pip install --force-reinstall --no-deps --no-build-isolation --no-cache-dir "onedl-mmcv==2.3.6"'
    )


def test_operators_of_another_torch(fake: FakeStack) -> None:
    fake.write('mmcv/_ext', "raise ImportError('_ext.so: undefined symbol: _ZN3c10')")
    message = fake.error()
    assert 'built for another torch' in message
    assert 'undefined symbol: _ZN3c10' in message
    assert '--force-reinstall' in command_of(message)


def test_version_clash_becomes_import_error_with_the_reason(fake: FakeStack) -> None:
    fake.withdraw('onedl-mmdetection')
    fake.distribute('mmdet', version='3.3.0')
    fake.write('mmdet', "assert False, 'MMCV==9.8.7 is used but incompatible. Please install mmcv>=2.0.0rc4, <2.2.0.'")
    message = fake.error()
    assert 'MMCV==9.8.7 is used but incompatible' in message
    # mmdet is of the classic generation, mmcv of the other: it has to go first.
    assert command_of(message) == (
        'pip uninstall -y onedl-mmcv && '
        'pip install --force-reinstall --no-deps --no-build-isolation --no-cache-dir "mmcv==2.1.0"'
    )


def test_mmengine_clash_names_mmengine(fake: FakeStack) -> None:
    fake.write('mmdet', "assert False, 'MMEngine==2.0 is used but incompatible. Please install mmengine>=0.7.1'")
    assert '"onedl-mmengine==0.10.12"' in command_of(fake.error())


def test_both_generations_of_one_package(fake: FakeStack) -> None:
    fake.distribute('mmdet', version='3.3.0')
    message = fake.error()
    assert 'mmdet and onedl-mmdetection' in message
    assert command_of(message) == (
        'pip uninstall -y mmdet onedl-mmdetection && '
        'pip install --no-deps --no-build-isolation --no-cache-dir "onedl-mmdetection==3.5.1"'
    )


def test_numpy_too_new_for_torch(fake: FakeStack) -> None:
    fake.write('torch', TORCH.replace('return None', "raise RuntimeError('Numpy is not available')"))
    message = fake.error()
    assert 'torch 2.9.0 cannot use numpy 9.8.7' in message
    assert command_of(message) == 'pip install "numpy<2"'


def test_missing_dependency_of_a_package(fake: FakeStack) -> None:
    fake.write('mmcv', 'import cv2')
    message = fake.error()
    assert "mmcv cannot be imported: ModuleNotFoundError: No module named 'cv2'" in message
    assert command_of(message) == 'pip install opencv-python-headless'


def test_machine_without_screen(fake: FakeStack) -> None:
    fake.write('mmcv', "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')")
    assert command_of(fake.error()) == 'pip install --force-reinstall --no-deps opencv-python-headless'


def test_message_lists_the_versions_found(fake: FakeStack) -> None:
    fake.remove('mmdet')
    fake.withdraw('onedl-mmdetection')
    found = fake.error().partition('found: ')[2].splitlines()[0]
    assert found == 'torch 9.8.7, torchvision 9.8.7, numpy 9.8.7, onedl-mmengine 9.8.7, onedl-mmcv 9.8.7'


@pytest.mark.parametrize(('name', 'pins'), [('current', stack.CURRENT), ('classic', stack.CLASSIC)])
def test_recommended_versions_are_those_of_the_requirement_files(project_root: Path, name: str, pins: dict) -> None:
    lines = (project_root / 'requirements' / f'{name}.txt').read_text().splitlines()
    assert set(pins.values()) == {line for line in lines if line.startswith(('mm', 'onedl-mm'))}


MMSEG_WORKS = 'import sys; sys.path.append({!r}); import stack; print(stack.mmseg_works())'


@pytest.mark.parametrize(
    ('modules', 'works', 'command'),
    [
        ({}, False, None),
        ({'mmseg': '', 'mmseg/models': '', 'mmseg/datasets': ''}, True, None),
        ({'mmseg': '', 'mmseg/models': 'import ftfy'}, False, 'pip install ftfy'),
        ({'mmseg': 'raise AssertionError("MMCV==2.2.0 is used")'}, False, 'pip install "onedl-mmsegmentation==1.4.2"'),
    ],
)
def test_mmseg_is_optional(fake: FakeStack, project_root: Path, modules: dict, works: bool, command: str) -> None:
    """What is wrong with it stops nobody who uses mmdet."""
    for name, source in modules.items():
        fake.write(name, source)
    result = fake.run(MMSEG_WORKS.format(str(project_root / 'mmmaskdino')))
    assert result.stdout.strip() == str(works), result.stderr
    assert (command is None) == (result.stderr == '')
    if command:
        assert command_of(result.stderr).startswith(command) and 'without semantic segmentation' in result.stderr
