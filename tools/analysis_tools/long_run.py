"""Train the small model for long and look for leaks: python tools/analysis_tools/long_run.py [--iterations N].

Trains on generated images, with workers, checkpoints, logs and evaluations, and prints memory, open files, threads and
processes. Exits with status 1 if one of them grows after the warm-up.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measuring.resources import ResourceHook, Resources, find_leaks
from mmengine.config import Config

from mmmaskdino.apis import build_runner, load_config
from mmmaskdino.datasets.shapes import make_shapes_dataset

CONFIG = Path(__file__).parents[2] / 'configs' / 'maskdino' / 'maskdino_r18_shapes_panoptic.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train the small model for long and look for leaks.')
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--warm-up', type=int, default=500, help='iterations that do not count')
    parser.add_argument('--workers', type=int, default=1, help='worker processes of the data loader')
    parser.add_argument('--max-growth', type=float, default=0.02, help='share by which memory may grow')
    return parser.parse_args()


def make_config(args: argparse.Namespace, folder: Path) -> Config:
    """The quick start's config on small images, with everything that a long run does in between."""
    root = make_shapes_dataset(folder / 'shapes', 32, 4, size=64, progress=False)
    dataset = dict(data_root=f'{root}/')
    files = dict(ann_file=f'{root}/annotations/panoptic_val.json', seg_prefix=f'{root}/annotations/panoptic_val/')
    options = {
        'train_dataloader': dict(
            batch_size=1, num_workers=args.workers, persistent_workers=args.workers > 0, dataset=dataset
        ),
        'val_dataloader': dict(num_workers=0, persistent_workers=False, dataset=dataset),
        'train_cfg': dict(max_iters=args.iterations, val_interval=max(args.iterations // 5, 1)),
        'default_hooks.checkpoint': dict(interval=max(args.iterations // 10, 1)),
        'default_hooks.logger.interval': max(args.iterations // 40, 1),
    }
    cfg = load_config(CONFIG, options, str(folder / 'work_dir'))
    cfg.val_evaluator = [dict(type='PanopticQualityMetric', **files)]
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.log_level = 'WARNING'
    return cfg


def print_table(looks: list[Resources]) -> None:
    """One line per look."""
    print(' '.join(f'{name:>15}' for name in Resources._fields))
    for entry in looks:
        print(' '.join(f'{value:15.1f}' if isinstance(value, float) else f'{value:15}' for value in entry))


def main() -> None:
    args = parse_args()
    hook = ResourceHook(interval=max(args.iterations // 40, 1))
    with tempfile.TemporaryDirectory() as folder:
        runner = build_runner(make_config(args, Path(folder)))
        runner.register_hook(hook)
        runner.train()
    print_table(hook.looks)
    leaks = find_leaks(hook.looks, args.warm_up, args.max_growth)
    print('\n'.join(leaks) or 'nothing grows')
    sys.exit(bool(leaks))


if __name__ == '__main__':
    main()
