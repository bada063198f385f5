"""Plot losses, learning rate and metrics of trainings: mmmaskdino curves OUT WORK_DIR_OR_SCALARS_JSON ..."""

import argparse
import sys
from pathlib import Path

from mmmaskdino.visualization.training_curves import METRICS, draw_curves, read_scalars


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='picture to write; the suffix tells the format')
    parser.add_argument('runs', nargs='+', help='work dirs, of which the last run counts, or scalars.json files')
    parser.add_argument(
        '--metrics', default=METRICS, help='regular expression of names of metrics (default: %(default)s)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        draw_curves({str(Path(run)): read_scalars(run) for run in args.runs}, args.metrics).savefig(args.out)
    except (ValueError, OSError) as error:
        sys.exit(f'plot_training.py: {error}')
    print(args.out)


if __name__ == '__main__':
    main()
