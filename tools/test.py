"""Evaluate a checkpoint: python tools/test.py CONFIG CHECKPOINT [options]. Several processes: tools/dist_test.sh."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

from mmmaskdino.apis import add_run_arguments, build_runner, load_config, prepare_launcher, process_group


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluate a checkpoint with the config's test data and metrics.")
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--work-dir', help='folder of the log and the metrics; default: work_dirs/<config name>')
    parser.add_argument('--out', help='also write all predictions to this file (.pkl)')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument(
        '--show-dir', help='write pictures of the predictions to the folder SHOW_DIR inside the work dir'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds each picture of --show stays')
    add_run_arguments(parser)
    return parser.parse_args()


def check_files(checkpoint: str, out: str | None) -> None:
    """Refuse a checkpoint that is not there, and an output file that could not be written, before anything is built.

    Raises:
        ValueError: Naming the file.
    """
    if '://' not in checkpoint and not Path(checkpoint).is_file():
        found = ', '.join(sorted(map(str, Path(checkpoint).parent.glob('*.pth')))) or 'none'
        raise ValueError(f'checkpoint {checkpoint} does not exist; checkpoints in its folder: {found}')
    if out is not None and Path(out).suffix not in ('.pkl', '.pickle'):
        raise ValueError(f'--out expects a name that ends with .pkl or .pickle, got {out}')


def build_config(args: argparse.Namespace) -> Config:
    """The config file with everything the command line says."""
    check_files(args.checkpoint, args.out)
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    cfg.load_from = args.checkpoint
    if args.show or args.show_dir:
        draw_predictions(cfg, args)
    prepare_launcher(cfg, args.launcher)
    return cfg


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """Turn the drawing of predictions on.

    Raises:
        ValueError: If the config has no visualization hook.
    """
    hook = cfg.default_hooks.get('visualization')
    if hook is None:
        raise ValueError('--show and --show-dir expect default_hooks.visualization in the config, got none')
    hook.update(draw=True, interval=1)
    if args.show:
        hook.update(show=True, wait_time=args.wait_time)
    if args.show_dir and 'Seg' in hook.type:  # mmseg's hook leaves the place to the visualizer
        cfg.visualizer.save_dir = str(Path(cfg.work_dir) / args.show_dir)
    elif args.show_dir:
        hook.test_out_dir = args.show_dir


def dump_metric(cfg: Config, path: str) -> BaseMetric:
    """The metric that writes all predictions to a file; that of mmdet makes masks small."""
    from mmdet.evaluation import DumpDetResults

    return (DumpResults if cfg.default_scope == 'mmseg' else DumpDetResults)(out_file_path=path)


def keep_one_writer(runner: Runner) -> None:
    """Only rank 0 logs: mmengine lets every process write the same metrics file, which garbles it now and then."""
    if get_rank() > 0:
        for hook in [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]:
            runner.hooks.remove(hook)


def evaluate(cfg: Config, out: str | None) -> None:
    """Evaluate the checkpoint and, if wanted, write the predictions."""
    runner = build_runner(cfg)
    keep_one_writer(runner)
    if out is not None:
        runner.test_evaluator.metrics.append(dump_metric(cfg, out))
    runner.test()


def main() -> None:
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    try:
        cfg = build_config(args)
    except ValueError as error:
        raise SystemExit(f'test.py: {error}') from None
    with process_group():
        evaluate(cfg, args.out)


if __name__ == '__main__':
    main()
