"""Add what benchmark.py measured to docs/benchmark_history.json, a row for each revision, and draw the curves.

    mmmaskdino benchmark --json benchmark.json
    python tools/analysis_tools/benchmark_history.py benchmark.json --machine "AMD EPYC, two quiet cores"

Without a file it only draws. Seconds of two machines cannot be compared; their ratios to DINO can, roughly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HISTORY = ROOT / 'docs' / 'benchmark_history.json'
PICTURE = ROOT / 'docs' / 'images' / 'benchmark_history.svg'
PANELS = {
    'seconds': ('inference', 'training', 'crowded'),
    'seconds / seconds of DINO': ('inference / DINO', 'training / DINO'),
    'MiB over the model': ('memory',),
    'operations of a training step': ('operations',),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('figures', nargs='?', type=Path, help='file that benchmark.py --json wrote')
    parser.add_argument('--machine', help='processor, cores, what else ran')
    parser.add_argument('--revision', help='default: that of the working tree')
    parser.add_argument('--history', type=Path, default=HISTORY, help='default: docs/benchmark_history.json')
    parser.add_argument('--picture', type=Path, default=PICTURE, help='default: docs/images/benchmark_history.svg')
    args = parser.parse_args()
    if args.figures and not args.machine:
        parser.error('--machine is needed with a file: figures without it say nothing')
    return args


def make_row(found: dict[str, Any], machine: str, revision: str, day: date) -> dict[str, Any]:
    """The row of a revision.

    Args:
        found: What benchmark.py wrote; the first model is ours.
        machine: Processor, cores, what else ran.
        revision: Short name of the commit.
        day: When it was measured.

    Raises:
        ValueError: The file is of a sweep, or of something else.
    """
    try:
        ours = next(iter(found['figures'].values()))
        row = {case: round(ours[case]['total'], 2) for case in PANELS['seconds']}
        row |= dict(memory=round(ours['memory']['peak'] - ours['memory']['model']))
        row |= dict(operations=ours['operations'], waits=ours['waits'])
        torch = found['setting']['torch']
    except (KeyError, TypeError, StopIteration, AttributeError) as error:
        raise ValueError(f'expected what benchmark.py --json writes without --sweep, got no {error}') from error
    row |= {name: round(found['aims'][name], 2) for name in PANELS['seconds / seconds of DINO'] if found.get('aims')}
    return dict(revision=revision, date=day.isoformat(), machine=f'{machine}, torch {torch}', **row)


def current_revision() -> str:
    """The short name of the commit.

    Raises:
        ValueError: There is none, or files were changed since.
    """
    done = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--exclude', '*'], cwd=ROOT, capture_output=True, text=True
    )
    revision = done.stdout.strip()
    if not revision or revision.endswith('-dirty'):
        raise ValueError('the working tree is no commit, so nobody could measure it again: commit, or give --revision')
    return revision


def draw(history: list[dict[str, Any]], path: Path) -> None:
    """A panel for each kind of figure, the revisions from left to right."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    # Text stays text, and the same figures give the same file.
    with plt.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'mmmaskdino', 'font.size': 8}):
        figure, axes = plt.subplots(1, len(PANELS), figsize=(10, 2.6), layout='constrained')
        for axis, (title, names) in zip(axes, PANELS.items(), strict=True):
            for name in names:
                rows = [row for row in history if name in row]
                places = [history.index(row) for row in rows]
                axis.plot(places, [row[name] for row in rows], marker='o', label=name)
            axis.set(title=title, xlim=(-0.5, len(history) - 0.5))
            axis.set_ylim(0, 1.2 * axis.get_ylim()[1])
            axis.set_xticks(range(len(history)), [row['revision'] for row in history], rotation=45)
            if len(names) > 1:
                axis.legend()
        figure.savefig(path, metadata={'Date': None} if path.suffix == '.svg' else None)
        plt.close(figure)


def main() -> None:
    args = parse_args()
    try:
        history = json.loads(args.history.read_text(encoding='utf-8'))
        if args.figures:
            revision = args.revision or current_revision()
            if revision in [row['revision'] for row in history]:
                raise ValueError(f'{args.history} has a row of {revision}; take it out to measure anew')
            found = json.loads(args.figures.read_text(encoding='utf-8'))
            history.append(make_row(found, args.machine, revision, date.today()))
            args.history.write_text(json.dumps(history, indent=1) + '\n', encoding='utf-8')
        draw(history, args.picture)
    except (ValueError, OSError) as error:
        sys.exit(f'benchmark_history.py: {error}')
    print(f'{args.history}: {len(history)} rows; {args.picture}')


if __name__ == '__main__':
    main()
