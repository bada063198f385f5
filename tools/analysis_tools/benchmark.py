"""Measure a Mask DINO beside detectors of mmdet: time, memory, operations, waits of the CPU, flops.

    mmmaskdino benchmark --quick --json benchmark.json --plot benchmark.png
    mmmaskdino benchmark --sweep objects size batch queries --rounds 3 --peers DINO

Weights are random, nothing is downloaded. Models take turns, so that ratios hold on a machine that others use too.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from measuring.measure import measure, sweep
from measuring.models import INFERENCE, PEERS, TRAINING, Subject, build_model
from measuring.report import compare, format_aims, format_figures, plot
from mmengine.config import DictAction

from mmmaskdino.devices import choose_device

CONFIG = Path(__file__).resolve().parents[2] / 'configs/maskdino/maskdino_r50_coco_instance.py'
SWEEPS = {
    'objects': {f'{n} objects': TRAINING._replace(num_objects=n) for n in (0, 5, 20, 100, 300)},
    'size': {f'{n} x {n}': INFERENCE._replace(size=(n, n)) for n in (256, 512, 768, 1024)},
    'batch': {f'batch {n}': TRAINING._replace(bs=n) for n in (1, 2, 4)},
}
QUERIES = (100, 300, 900)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', default=str(CONFIG), help='config of the model (default: R50, COCO)')
    parser.add_argument('--peers', nargs='*', default=list(PEERS), help=f'of {list(PEERS)}, or config files of mmdet')
    parser.add_argument('--rounds', type=int, default=5, help='rounds of each case (default: %(default)s)')
    parser.add_argument('--quick', action='store_true', help='2 rounds')
    parser.add_argument('--sweep', nargs='+', default=[], choices=[*SWEEPS, 'queries'], help='measure only these')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='default: %(default)s')
    parser.add_argument('--device', default='cpu', help='cpu, cuda or the number of a GPU (default: %(default)s)')
    parser.add_argument('--json', metavar='FILE', help='write all figures to this file')
    parser.add_argument('--plot', metavar='FILE', help='draw the times to this file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help="key=value changes of the model's config")
    return parser.parse_args()


def run_sweeps(args: argparse.Namespace, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Median seconds by sweep, case and model."""
    options = args.cfg_options or {}
    found = {}
    if set(args.sweep) - {'queries'}:
        subjects = {args.config: Subject(build_model(args.config, options, args.device), args.device)}
        subjects |= {name: Subject(build_model(name, None, args.device), args.device) for name in args.peers}
        found = {kind: sweep(subjects, SWEEPS[kind], rounds) for kind in args.sweep if kind != 'queries'}
    if 'queries' in args.sweep:
        key = 'model.panoptic_head.query_init.num_queries'
        models = {f'{n} queries': build_model(args.config, {**options, key: n}, args.device) for n in QUERIES}
        subjects = {label: Subject(model, args.device) for label, model in models.items()}
        found['queries'] = sweep(subjects, dict(inference=INFERENCE, training=TRAINING), rounds)
    return found


def run_comparison(args: argparse.Namespace, rounds: int) -> dict:
    """Figures by model and, where DINO is among the peers, what they say of the project's aims."""
    figures = measure([args.config, *args.peers], args.cfg_options or {}, rounds, args.device)
    print(format_figures(figures))
    if args.plot:
        plot(figures, Path(args.plot))
    aims = {}
    if 'DINO' in args.peers:
        aims = compare(figures, args.config)
        print(format_aims(aims))
    return dict(figures=figures, aims=aims)


def main() -> None:
    args = parse_args()
    try:
        args.device = choose_device(args.device)
    except ValueError as error:
        sys.exit(f'benchmark.py: {error}')
    torch.set_num_threads(args.threads)
    rounds = 2 if args.quick else args.rounds
    try:
        found = run_sweeps(args, rounds) if args.sweep else run_comparison(args, rounds)
    except (ValueError, OSError) as error:
        sys.exit(f'benchmark.py: {error}')
    if args.sweep:
        print(json.dumps(found, indent=1))
    if args.json:
        setting = dict(torch=torch.__version__, threads=args.threads, device=args.device, rounds=rounds)
        Path(args.json).write_text(json.dumps(dict(setting=setting, **found), indent=1))


if __name__ == '__main__':
    main()
