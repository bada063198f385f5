"""Train models with several seeds, detectors of mmdet beside them if wanted, and print what they reach.

    mmmaskdino compare maskdino_r18_shapes_instance maskdino_r18_shapes_instance_no-components --iterations 400
    mmmaskdino compare maskdino_r18_shapes_instance --peers DINO Mask2Former 'Mask R-CNN' --rates 1e-3 2e-3 \\
        --evaluations 4 --same-time --plot curves.png

A peer gets the size, the data, the schedule and the optimiser of the first config. Of several rates each model takes
the one that is best with the first seed. Figures of finished trainings are kept in --records and not made again;
interrupted, the series goes on when it is called again.
"""

import argparse
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measuring.peers import SMALLER, peer_config
from measuring.series import Records, Run, check_making, draw_series, format_results, making, read_figures
from mmengine.config import Config

from mmmaskdino.cli.quickstart import ALLOCATION
from mmmaskdino.hub import find_config
from mmmaskdino.output_files import OutputFolder

PICTURES = ('.png', '.jpg', '.pdf', '.svg')
TRAIN = Path(__file__).parents[1] / 'train.py'
NOTICEABLE = 0.03  # difference in time that --same-time makes up for
# Keys that the tool sets itself, and how.
MANAGED = {
    'randomness.seed': '--seeds',
    'optim_wrapper.optimizer.lr': '--rates',
    'train_cfg.max_iters': '--iterations',
    'train_cfg.val_interval': '--evaluations',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path, metavar='CONFIG', help='files or names in the model zoo')
    parser.add_argument('--peers', nargs='+', default=[], choices=SMALLER, help='of mmdet, like the first config')
    parser.add_argument('--seeds', nargs='+', type=_seed, default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--iterations', type=_count, help="length of each schedule; default: the config's")
    parser.add_argument('--rates', nargs='+', type=_rate, help="learning rates to choose from; default: the config's")
    parser.add_argument('--same-time', action='store_true', help='also train the others as long as the first')
    parser.add_argument('--evaluations', type=_count, default=1, help='of each training (default: %(default)s)')
    parser.add_argument('--parallel', type=_count, default=1, help='trainings side by side (default: %(default)s)')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/comparison'), help='default: %(default)s')
    parser.add_argument('--records', type=Path, help='JSON file of all figures; default: records.json in --work-dir')
    parser.add_argument('--plot', type=Path, help='draw the metrics by steps and by time to this file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='of all models; a --work-dir is for the same ones',
    )
    args = parser.parse_args()
    try:
        args.configs = [find_config(path) for path in args.configs]
    except ValueError as error:
        parser.error(str(error))
    if len({path.stem for path in args.configs}) < len(args.configs):
        parser.error('two configs have the same name, by which their figures are kept; rename one of the files')
    for key in (option.partition('=')[0] for option in args.cfg_options):
        if key in MANAGED:
            parser.error(f'--cfg-options {key} is what {MANAGED[key]} sets')
    if args.plot and args.plot.suffix.lower() not in PICTURES:
        parser.error(f'--plot {args.plot}: expected a name that ends with one of {" ".join(PICTURES)}')
    args.seeds = [*dict.fromkeys(args.seeds)]
    args.rates = args.rates and [float(rate) for rate in dict.fromkeys(f'{rate:g}' for rate in args.rates)]
    return args


def _seed(text: str) -> int:
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f'expected 0 or more, got {text}')
    return int(text)


def _rate(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f'expected a number above 0, got {text}')
    return float(text)


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected 1 or more, got {text}')
    return int(text)


def schedule_options(cfg: Config, iterations: int, evaluations: int) -> list[str]:
    """Options that end the schedule after some iterations, milestones in proportion.

    Raises:
        ValueError: If a part of the schedule, such as what follows the warm-up, begins only later.
    """
    whole = cfg.train_cfg.get('max_iters')
    if not whole or not isinstance(cfg.param_scheduler, list):
        raise ValueError(f'{cfg.filename}: expected train_cfg.max_iters, and a list as param_scheduler')
    options = [f'train_cfg.max_iters={iterations}', f'train_cfg.val_interval={-(-iterations // evaluations)}']
    for i, scheduler in enumerate(cfg.param_scheduler):
        if scheduler.get('begin', 0) >= iterations:
            raise ValueError(
                f'{cfg.filename}: {scheduler.type} begins at iteration {scheduler.begin}, which a schedule of '
                f'{iterations} iterations does not reach'
            )
        if scheduler.get('end') == whole:
            options.append(f'param_scheduler.{i}.end={iterations}')
        if 'milestones' in scheduler:
            milestones = [milestone * iterations // whole for milestone in scheduler.milestones]
            options.append(f'param_scheduler.{i}.milestones=[{",".join(map(str, milestones))}]')
    return options


class Series:
    """The trainings of a comparison.

    Args:
        args: Of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._paths = {path.stem: path for path in args.configs} | {peer: self._write_peer(peer) for peer in args.peers}
        self._configs = {model: Config.fromfile(path) for model, path in self._paths.items()}
        self._makings = {model: making(cfg, args.cfg_options) for model, cfg in self._configs.items()}
        self._records = Records(args.records or args.work_dir / 'records.json', self._makings)
        self._planned: list[Run] = []

    def _write_peer(self, peer: str) -> Path:
        path = self._args.work_dir / 'configs' / f'{peer.replace(" ", "-")}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        peer_config(Config.fromfile(self._args.configs[0]), peer).dump(path)
        return path

    def train_all(self) -> None:
        """Train what is missing.

        Raises:
            ValueError: If a schedule cannot be shortened, or a training fails.
        """
        first, *seeds = self._args.seeds
        lengths = {
            model: self._args.iterations or cfg.train_cfg.get('max_iters', 0) for model, cfg in self._configs.items()
        }
        tried = {
            model: [Run(model, length, rate, first) for rate in self._rates(model)] for model, length in lengths.items()
        }
        self._train(run for runs in tried.values() for run in runs)
        best = {model: max(runs, key=lambda run: self._records[run].best_first()) for model, runs in tried.items()}
        # Seed by seed: an interrupted series still compares all models.
        self._train(best[model]._replace(seed=seed) for seed in seeds for model in best)
        if self._args.same_time:
            reference, *rest = best.values()
            whole = reference.iterations * self._records[reference].seconds
            steps = {run: round(whole / self._records[run].seconds) for run in rest}
            others = [
                run._replace(iterations=n) for run, n in steps.items() if abs(n / run.iterations - 1) > NOTICEABLE
            ]
            possible = [run for run in others if self._fits(run)]
            self._train(run._replace(seed=seed) for seed in self._args.seeds for run in possible)

    def _fits(self, run: Run) -> bool:
        try:
            self._options(run)
        except ValueError as error:
            print(f'not trained as long as the first: {error}')
            return False
        return True

    def _rates(self, model: str) -> list[float]:
        return self._args.rates or [self._configs[model].optim_wrapper.optimizer.lr]

    def _train(self, runs: Iterable[Run]) -> None:
        runs = [*runs]
        for run in runs:
            self._options(run)  # that can be seen to be wrong before anything is trained
        self._planned += runs
        failed = threading.Event()

        def work(run: Run) -> None:
            if failed.is_set():  # of those that wait, none begins
                return
            try:
                self._train_one(run)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(self._args.parallel) as pool:
            for done in [pool.submit(work, run) for run in runs]:
                try:
                    done.result()
                except BaseException:
                    failed.set()
                    raise

    def _options(self, run: Run) -> list[str]:
        cfg = self._configs[run.model]
        options = [f'randomness.seed={run.seed}', f'optim_wrapper.optimizer.lr={run.rate}']
        options += schedule_options(cfg, run.iterations, self._args.evaluations)
        return [*options, *self._args.cfg_options]

    def _train_one(self, run: Run) -> None:
        """One run, unless its figures are there."""
        if run in self._records:
            return
        work_dir = self._args.work_dir / run.folder
        self._note_making(run, work_dir)
        figures = read_figures(work_dir, run.iterations)
        if figures is None:
            self._run(run, work_dir)
            figures = read_figures(work_dir, run.iterations)
        if figures is None:
            raise ValueError(f'{work_dir}: the training ended without an evaluation after {run.iterations} iterations')
        self._records.add(run, figures)
        reached = ', '.join(f'{metric} {figures.final(metric):.1f}' for metric in figures.curves)
        print(f'{run.folder}: {reached}, {figures.seconds:.2f} s a step', flush=True)

    def _note_making(self, run: Run, work_dir: Path) -> None:
        """A training goes on only as it was begun."""
        note = work_dir / 'making.txt'
        if note.is_file():
            check_making(work_dir, note.read_text(encoding='utf-8'), self._makings[run.model])
        with OutputFolder(work_dir).replacing(note.name) as path:
            path.write_text(self._makings[run.model], encoding='utf-8')

    def _run(self, run: Run, work_dir: Path) -> None:
        log = work_dir / 'training.log'
        print(f'{run.folder}: {run.iterations} steps; log: {log}', flush=True)
        command = [sys.executable, str(TRAIN), str(self._paths[run.model]), '--work-dir', str(work_dir), '--resume']
        # On models of this size threads do not help, and where trainings run side by side they wait for each other.
        environment = {'OMP_NUM_THREADS': '1', 'GLIBC_TUNABLES': ALLOCATION, **os.environ}
        with log.open('a') as file:
            # Progress and messages are on stderr; of several trainings at once they would be a muddle.
            errors = file if self._args.parallel > 1 else None
            done = subprocess.run(
                [*command, '--cfg-options', *self._options(run)],
                check=False,
                env=environment,
                stdout=file,
                stderr=errors,
            )
        if done.returncode:
            raise ValueError(f'{run.folder}: the training ended with status {done.returncode}; its log: {log}')

    def show(self) -> None:
        """Print the table and draw the curves of what was trained."""
        runs = [run for run in self._planned if run in self._records]
        if not runs:
            return
        print(format_results(self._records, runs))
        if self._args.plot:
            self._args.plot.parent.mkdir(parents=True, exist_ok=True)
            draw_series(self._records, runs).savefig(self._args.plot)


def main() -> None:
    args = parse_args()
    try:
        series = Series(args)
        try:
            series.train_all()
        finally:  # what is there is not lost with what failed
            series.show()
    except ValueError as error:
        sys.exit(f'compare_models.py: {error}')


if __name__ == '__main__':
    main()
