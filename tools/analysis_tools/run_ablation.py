"""Train configs with several seeds, one after the other, and print what they reach: mean, spread and single runs.

    python tools/analysis_tools/run_ablation.py --iterations 400 configs/maskdino/maskdino_r18_shapes_instance.py \\
        configs/maskdino/ablations/maskdino_r18_shapes_instance_no-components.py

Each run has its own work dir, WORK_DIR/config/seed_N. Called again, it goes on where it stopped; runs that are
evaluated already are only printed.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config
from print_table import LOGGED, format_row, measured

from mmmaskdino.hub import find_config

TRAIN = Path(__file__).parents[1] / 'train.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG', help='files or names in the model zoo')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--iterations', type=int, help="length of each schedule; default: the config's")
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablation'), help='default: %(default)s')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='handed to train.py')
    args = parser.parse_args()
    try:
        args.configs = [find_config(path) for path in args.configs]
    except ValueError as error:
        parser.error(str(error))
    return args


def schedule_options(cfg: Config, iterations: int) -> list[str]:
    """Options that end the schedule after some iterations, milestones in proportion, with one evaluation at the end.

    Raises:
        ValueError: If a part of the schedule, such as what follows the warm-up, begins only later.
    """
    whole = cfg.train_cfg.max_iters
    options = [f'train_cfg.max_iters={iterations}', f'train_cfg.val_interval={iterations}']
    for i, scheduler in enumerate(cfg.param_scheduler):
        if scheduler.begin >= iterations:
            raise ValueError(
                f'{cfg.filename}: {scheduler.type} begins at iteration {scheduler.begin}, which a schedule of '
                f'{iterations} iterations does not reach'
            )
        if scheduler.end == whole:
            options.append(f'param_scheduler.{i}.end={iterations}')
        if 'milestones' in scheduler:
            milestones = [milestone * iterations // whole for milestone in scheduler.milestones]
            options.append(f'param_scheduler.{i}.milestones=[{",".join(map(str, milestones))}]')
    return options


def check_work_dir(work_dir: Path, config: Path, iterations: int) -> None:
    """Is what the folder holds, if anything, of a run of the same length?

    Raises:
        ValueError: If it is not.
    """
    saved = work_dir / config.name
    if saved.is_file() and (found := Config.fromfile(saved).train_cfg.max_iters) != iterations:
        raise ValueError(
            f'{work_dir} holds a run of {found} iterations, and {iterations} are wanted: choose another --work-dir'
        )


def train(config: Path, work_dir: Path, options: list[str]) -> None:
    """One run, unless its log has its evaluation already.

    Raises:
        CalledProcessError: If the training fails.
    """
    if work_dir.is_dir() and any(value is not None for value in measured(work_dir, [*LOGGED])):
        return
    command = [sys.executable, str(TRAIN), str(config), '--work-dir', str(work_dir), '--resume']
    subprocess.run([*command, '--cfg-options', *options], check=True)


def format_runs(values: list[float]) -> str:
    """Mean and standard deviation, and the single runs."""
    runs = ', '.join(f'{value:.1f}' for value in values)
    if len(values) == 1:
        return runs
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} ({runs})'


def format_results(results: dict[str, list[list[float | None]]]) -> str:
    """A table in Markdown of {config: metrics of each run}; metrics that no run has are left out."""
    columns = {name: [*zip(*runs, strict=True)] for name, runs in results.items()}
    used = [i for i in range(len(LOGGED)) if any(None not in column[i] for column in columns.values())]
    header = ['config', *([*LOGGED][i] for i in used)]
    rows = [
        format_row([name, *(format_runs(column[i]) if None not in column[i] else None for i in used)])
        for name, column in columns.items()
    ]
    return '\n'.join([format_row(header), '|---' * len(header) + '|', *rows])


def plan_runs(args: argparse.Namespace) -> list[tuple[Path, Path, list[str]]]:
    """Config, work dir and options of each run, seed by seed: an interrupted series still compares all configs.

    Raises:
        ValueError: If a schedule cannot be shortened, or a work dir is of another length.
    """
    runs = []
    for seed in args.seeds:
        for path in args.configs:
            cfg = Config.fromfile(path)
            iterations = args.iterations or cfg.train_cfg.max_iters
            work_dir = args.work_dir / path.stem / f'seed_{seed}'
            check_work_dir(work_dir, path, iterations)
            options = [f'randomness.seed={seed}', *schedule_options(cfg, iterations), *args.cfg_options]
            runs.append((path, work_dir, options))
    return runs


def main() -> None:
    args = parse_args()
    try:
        runs = plan_runs(args)
    except ValueError as error:
        sys.exit(f'run_ablation.py: {error}')
    results = {path.stem: [] for path in args.configs}
    for path, work_dir, options in runs:
        train(path, work_dir, options)
        results[path.stem].append(measured(work_dir, [*LOGGED]))
    print(format_results(results))


if __name__ == '__main__':
    main()
