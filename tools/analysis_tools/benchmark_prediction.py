"""Measure how many images per second `mmmaskdino predict` does, beside mmdet's `DetInferencer`.

    python tools/analysis_tools/benchmark_prediction.py CONFIG WEIGHTS photos/ --onnx model.onnx --json figures.json

Config, weights, thresholds, images and kinds of results are the same for all. The ways take turns, so that ratios hold
on a machine that others use too; a first round, in which torch.compile works, does not count.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from measuring.throughput import (
    DET_INFERENCER,
    InferencerCommand,
    PredictCommand,
    Way,
    format_table,
    summarize,
    take_turns,
)
from mmengine.config import DictAction

from mmmaskdino.apis.inference import Predictor
from mmmaskdino.apis.inference.model import DEFAULT_SCORE_THR, apply_settings
from mmmaskdino.apis.inference.sources import SAVED, find_images
from mmmaskdino.apis.launch import open_model
from mmmaskdino.devices import choose_device

RUNTIMES = dict(onnxruntime='ONNX Runtime', openvino='OpenVINO')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='file or name of a config')
    parser.add_argument('weights', help='checkpoint file')
    parser.add_argument('images', nargs='+', help='what mmmaskdino predict takes, but for archives and addresses')
    parser.add_argument('--save', nargs='+', choices=SAVED, default=['instances'], help='default: instances')
    parser.add_argument('--score-thr', type=float, default=DEFAULT_SCORE_THR, help='default: %(default)s')
    parser.add_argument(
        '--workers', type=int, nargs='+', default=[0, 1, 2], help='the last is that of all other ways (default: 0 1 2)'
    )
    parser.add_argument('--batch-size', type=int, default=4, help='of the way that has some (default: %(default)s)')
    parser.add_argument('--compile', action='store_true', help='measure torch.compile, too')
    parser.add_argument('--onnx', metavar='FILE', help='measure this file of mmmaskdino export, too')
    parser.add_argument('--rounds', type=int, default=3, help='default: %(default)s')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='default: %(default)s')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or the number of a GPU (default: %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='write the figures, and those of each round, to this file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help="key=value changes of the model's config")
    return parser.parse_args()


def make_ways(args: argparse.Namespace, images: Sequence[Path]) -> dict[str, Way]:
    """What is measured, by name."""
    kinds = sorted(set(args.save) - {'pictures'}) or None
    cfg, weights = open_model(args.config, args.weights, args.cfg_options)
    thresholds = dict(score_thr=args.score_thr if not kinds or 'instances' in kinds else None)
    apply_settings(cfg, kinds, thresholds)

    def command(*model: str, **options: str) -> PredictCommand:
        return PredictCommand(Predictor(*model, kinds=kinds, **thresholds, **options), images, args.save)

    device = choose_device(args.device)
    inferencer = InferencerCommand(cfg, weights, device, images, args.save)
    plain = command(cfg, weights, device=device)
    most = dict(workers=args.workers[-1])
    ways: dict[str, Way] = {f'`--workers {n}`': partial(plain.run, workers=n) for n in args.workers}
    ways[f'`--batch-size {args.batch_size}`'] = partial(plain.run, batch_size=args.batch_size, **most)
    if args.compile:
        compiled = command(cfg, weights, device=device)
        compiled.predictor.compile()
        ways['`--compile`'] = partial(compiled.run, **most)
    if args.onnx:
        for runtime, name in RUNTIMES.items():
            ways[name] = partial(command(args.onnx, runtime=runtime).run, **most)
    return {**ways, DET_INFERENCER: inferencer.run}


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    try:
        images = [file.path for file in find_images(args.images).files if not file.is_video]
        runs = take_turns(make_ways(args, images), args.rounds)
    except (ValueError, OSError) as error:
        sys.exit(f'benchmark_prediction.py: {error}')
    figures = summarize(runs, len(images))
    print(format_table(figures))
    if args.json:
        setting = dict(torch=torch.__version__, threads=args.threads, device=args.device, images=len(images))
        rounds = {name: [run._asdict() for run in of_way] for name, of_way in runs.items()}
        Path(args.json).write_text(json.dumps(dict(setting=setting, figures=figures, rounds=rounds), indent=1))


if __name__ == '__main__':
    main()
