"""Evaluation from a config file and command-line options."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import LoggerHook
from mmengine.runner import Runner

from mmmaskdino.apis.launch import build_runner, open_model, prepare_launcher
from mmmaskdino.apis.tta import enable_tiles, enable_tta
from mmmaskdino.datasets.files import DataError
from mmmaskdino.hub import Entry
from mmmaskdino.logged_results import in_percent


def build_test_config(args: Namespace) -> Config:
    """The config file with everything the command line says.

    Args:
        args: The arguments of `mmmaskdino test`.

    Raises:
        ValueError: A file is missing or an option cannot be followed.
    """
    cfg, weights = open_model(args.config, args.checkpoint, args.cfg_options, args.work_dir)
    cfg.load_from = weights
    apply_tta_arguments(cfg, args)
    apply_tiles_arguments(cfg, args)
    if args.show or args.show_dir:
        draw_predictions(cfg, args)
    prepare_launcher(cfg, args.launcher)
    return cfg


def apply_tta_arguments(cfg: Config, args: Namespace) -> None:
    """Turn test-time augmentation on if the command line says so.

    Raises:
        ValueError: Scales or flips are given without `--tta`, or cannot be followed.
    """
    if args.tta:
        enable_tta(cfg, args.tta_scales, args.tta_flips)
    elif args.tta_scales is not None or args.tta_flips is not None:
        raise ValueError('--tta-scales and --tta-flips need --tta')


def apply_tiles_arguments(cfg: Config, args: Namespace) -> None:
    """Cut the images into tiles if the command line says so.

    Raises:
        ValueError: Tiles cannot be cut, or pictures are wanted.
    """
    if args.tiles is None:
        return
    if args.show or args.show_dir:
        raise ValueError('--show and --show-dir draw no tiles; mmmaskdino predict --tiles does')
    enable_tiles(cfg, args.tiles, args.overlap)


def draw_predictions(cfg: Config, args: Namespace) -> None:
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


def measure_model(entry: Entry, data: str) -> dict[str, float]:
    """Evaluate a model of the table as its config says.

    Args:
        entry: The model.
        data: Folder that takes the place of the config's `data_root`.

    Returns:
        What its published results name, in percent.

    Raises:
        ValueError: It has no published results, or there are no such data.
    """
    if not entry.is_model or not entry.results:
        raise ValueError(f'{entry.name} has no published results to compare with')
    if not Path(data).is_dir():
        raise ValueError(f'the folder of the data does not exist: {data}')
    cfg, weights = open_model(entry.name)
    cfg.load_from = weights
    old = cfg.test_dataloader.dataset.data_root
    for part in (cfg.test_dataloader, cfg.test_evaluator):
        _move_data(part, old.rstrip('/'), data.rstrip('/'))
    found = in_percent(evaluate(cfg, None))
    return {metric: found[metric] for metric in entry.results}


def _move_data(part: Any, old: str, new: str) -> None:
    """Replace the folder that texts begin with, in place."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if isinstance(value, (dict, list)):
            _move_data(value, old, new)
        elif isinstance(value, str) and f'{value}/'.startswith(f'{old}/'):
            part[key] = new + value[len(old) :]


def evaluate(cfg: Config, out: str | None) -> dict[str, float]:
    """Evaluate the checkpoint and, if wanted, write the predictions.

    Args:
        cfg: With `load_from`.
        out: File of the predictions.

    Returns:
        All numbers of the metrics by name.

    Raises:
        DataError: Two images of the dataset would be drawn into one file.
    """
    runner = build_runner(cfg)
    _keep_one_writer(runner)
    _check_names_of_pictures(runner)
    if out is not None:
        runner.test_evaluator.metrics.append(_dump_metric(cfg, out))
    return runner.test()


def _check_names_of_pictures(runner: Runner) -> None:
    """mmdet's hook names pictures by the last part of the image's name alone."""
    if not any(getattr(hook, 'draw', False) and getattr(hook, 'test_out_dir', None) for hook in runner.hooks):
        return
    dataset = runner.test_dataloader.dataset
    seen: dict[str, str] = {}
    for index in range(len(dataset)):
        path = dataset.get_data_info(index)['img_path']
        other = seen.setdefault(Path(path).name, path)
        if other != path:
            raise DataError(
                f'--show-dir would draw {other} and {path} into one file; `mmmaskdino predict` and '
                'tools/analysis_tools/draw_results.py keep them apart'
            )


def _dump_metric(cfg: Config, path: str) -> BaseMetric:
    """The metric that writes all predictions to a file; that of detectors makes masks small."""
    from mmmaskdino.evaluation import DumpedResults

    return (DumpResults if cfg.default_scope == 'mmseg' else DumpedResults)(out_file_path=path)


def _keep_one_writer(runner: Runner) -> None:
    """Only rank 0 logs: mmengine lets every process write the same metrics file, which garbles it now and then."""
    if get_rank() > 0:
        for hook in [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]:
            runner.hooks.remove(hook)
