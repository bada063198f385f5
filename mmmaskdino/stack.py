"""Rejects missing, doubled or incompatible OpenMMLab packages with one readable error.

The import names `mmengine`, `mmcv`, `mmdet`, `mmseg` and `mmpretrain` are owned by two generations of packages, so none
of them can be a hard dependency of this one. What the ecosystem says by itself when something is wrong (an assertion, a
missing `_ext` deep inside `mmcv.ops`) does not tell how to fix it; :func:`check_stack` does.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import warnings
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

# Import name -> tested release, the same as in requirements/current.txt and requirements/classic.txt.
CURRENT = {
    'mmengine': 'onedl-mmengine==0.10.12',
    'mmcv': 'onedl-mmcv==2.3.6',
    'mmdet': 'onedl-mmdetection==3.5.1',
    'mmseg': 'onedl-mmsegmentation==1.4.2',
    'mmpretrain': 'onedl-mmpretrain==1.3.6',
}
CLASSIC = {
    'mmengine': 'mmengine==0.10.7',
    'mmcv': 'mmcv==2.1.0',
    'mmdet': 'mmdet==3.3.0',
    'mmseg': 'mmsegmentation==1.2.2',
    'mmpretrain': 'mmpretrain==1.2.0',
}
# mmcv must see torch while it is built, else it comes without operators; a cached wheel may be of another torch.
_COMPILED = '--no-build-isolation --no-cache-dir'


class StackError(ImportError):
    """The installed torch and OpenMMLab packages cannot run this package."""


class Fault(NamedTuple):
    """What is wrong and what fixes it."""

    problem: str
    command: str
    cause: Exception | None = None


def check_stack() -> None:
    """Check torch, torchvision, mmengine, mmcv with its operators, and mmdet.

    mmseg and mmpretrain are optional. Everything imported here is imported by this package anyway.

    Raises:
        StackError: Naming the first problem, the versions found and the command that fixes it.
    """
    checks: tuple[Callable[[], Fault | None], ...] = (
        _find_doubled_package,
        _find_torch_fault,
        _find_torchvision_fault,
        _find_mmengine_fault,
        _find_mmcv_fault,
        _find_operator_fault,
        _find_mmdet_fault,
    )
    for check in checks:
        fault = check()
        if fault is not None:
            raise StackError(_report(fault)) from fault.cause


@cache
def mmseg_works() -> bool:
    """Whether mmseg, which is optional, can be imported; warns where it is installed and cannot."""
    if importlib.util.find_spec('mmseg') is None:
        return False
    error = _import_error('mmseg.models') or _import_error('mmseg.datasets')
    if error is None:
        return True
    fault = _import_fault('mmseg', error, f'pip install "{_stack()["mmseg"]}"')
    warnings.warn(
        f'mmmaskdino works without semantic segmentation through mmseg: {fault.problem}\n'
        f'  fix it with: {fault.command}',
        stacklevel=2,
    )
    return False


def _find_doubled_package() -> Fault | None:
    doubled = [name for name in CURRENT if _installed(CURRENT[name]) and _installed(CLASSIC[name])]
    if not doubled:
        return None
    pairs = ', '.join(f'{_project(CLASSIC[name])} and {_project(CURRENT[name])}' for name in doubled)
    remove = ' '.join(f'{_project(CLASSIC[name])} {_project(CURRENT[name])}' for name in doubled)
    keep = ' '.join(f'"{_stack()[name]}"' for name in doubled)
    return Fault(
        f'packages that overwrite each other are installed together: {pairs}',
        f'pip uninstall -y {remove} && pip install --no-deps {_COMPILED} {keep}',
    )


def _find_torch_fault() -> Fault | None:
    error = _import_error('torch')
    if error is not None:
        return _import_fault('torch', error, 'pip install torch torchvision')
    import torch

    try:
        torch.zeros(1).numpy()
    except RuntimeError as numpy_error:
        problem = f'torch {torch.__version__} cannot use numpy {_version("numpy")}: {numpy_error}'
        return Fault(problem, 'pip install "numpy<2"', numpy_error)
    return None


def _find_torchvision_fault() -> Fault | None:
    if importlib.util.find_spec('torchvision') is not None:
        return None
    # With torch pinned to what is there, pip finds the release that belongs to it.
    command = f'pip install torchvision "torch=={importlib.import_module("torch").__version__}"'
    return Fault('torchvision is missing; timm and torchvision:// checkpoints need it', command)


def _find_mmengine_fault() -> Fault | None:
    error = _import_error('mmengine')
    return error and _import_fault('mmengine', error, f'pip install "{_stack()["mmengine"]}"')


def _find_mmcv_fault() -> Fault | None:
    error = _import_error('mmcv')
    return error and _import_fault('mmcv', error, f'pip install {_COMPILED} "{_stack()["mmcv"]}"')


def _find_operator_fault() -> Fault | None:
    error = _import_error('mmcv._ext')
    if error is None:
        return None
    if importlib.util.find_spec('mmcv._ext') is None:
        problem = 'mmcv was installed without its compiled operators; mmdet needs them on the CPU too'
    else:
        problem = f"mmcv's compiled operators do not load, usually because they were built for another torch: {error}"
    return Fault(problem, _reinstall('mmcv'), error)


def _find_mmdet_fault() -> Fault | None:
    error = next(filter(None, map(_import_error, ('mmdet', 'mmdet.datasets', 'mmdet.evaluation'))), None)
    if error is None:
        return None
    if isinstance(error, AssertionError):  # mmdet's own check of the versions of mmcv and mmengine
        guilty = 'mmengine' if 'mmengine' in str(error).lower() else 'mmcv'
        return Fault(f'mmdet and {guilty} do not fit together: {error}', _reinstall(guilty), error)
    return _import_fault('mmdet', error, f'pip install "{_stack()["mmdet"]}"')


def _import_error(name: str) -> Exception | None:
    """Import silently: what packages print and warn of meanwhile is about optional parts that are not there."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            importlib.import_module(name)
    except Exception as error:  # whatever the package raises is reported
        return error
    return None


def _import_fault(name: str, error: Exception, install: str) -> Fault:
    """Tell a missing package from one that is there but misses something or is broken."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing == name:
        return Fault(f'{name} is not installed', install, error)
    problem = f'{name} cannot be imported: {type(error).__name__}: {error}'
    if missing is not None:
        return Fault(problem, f'pip install {"opencv-python-headless" if missing == "cv2" else missing}', error)
    if 'libGL' in str(error):  # OpenCV's windows need a library that machines without a screen lack
        return Fault(problem, 'pip install --force-reinstall --no-deps opencv-python-headless', error)
    return Fault(problem, f'{install} --force-reinstall --no-deps', error)


def _reinstall(name: str) -> str:
    """The command that puts the tested release in the place of whatever owns the import name now."""
    stack = _stack()
    stranger = (CLASSIC if stack is CURRENT else CURRENT)[name]
    remove = f'pip uninstall -y {_project(stranger)} && ' if _installed(stranger) else ''
    return f'{remove}pip install --force-reinstall --no-deps {_COMPILED} "{stack[name]}"'


def _stack() -> dict[str, str]:
    """The generation to recommend: that of mmdet; without mmdet the one with more packages installed."""
    for stack, other in ((CURRENT, CLASSIC), (CLASSIC, CURRENT)):
        if _installed(stack['mmdet']) and not _installed(other['mmdet']):
            return stack
    return CLASSIC if sum(map(_installed, CLASSIC.values())) > sum(map(_installed, CURRENT.values())) else CURRENT


def _project(requirement: str) -> str:
    return requirement.partition('==')[0]


def _installed(requirement: str) -> bool:
    return _version(_project(requirement)) is not None


def _version(project: str) -> str | None:
    try:
        return importlib.metadata.version(project)
    except importlib.metadata.PackageNotFoundError:
        return None


def _report(fault: Fault) -> str:
    names = ['torch', 'torchvision', 'numpy', *map(_project, CURRENT.values()), *map(_project, CLASSIC.values())]
    found = ', '.join(f'{name} {_version(name)}' for name in names if _version(name)) or 'none of the packages'
    return (
        f'mmmaskdino cannot run with the installed packages: {fault.problem}\n'
        f'  found: {found}\n'
        f'  fix it with: {fault.command}\n'
        '  complete installations, also for GPUs: docs/installation.md'
    )
