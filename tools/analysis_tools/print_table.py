"""Print tables of the paper: the config of each row, the published numbers and, from logs, the measured ones."""

import argparse
from pathlib import Path

import yaml

from mmmaskdino.logged_results import in_percent, read_logged

TABLES = Path(__file__).parents[2] / 'configs' / 'maskdino' / 'tables.yml'


def parse_args(tables: dict) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = ', '.join(tables)
    parser.add_argument('tables', nargs='*', default=[*tables], metavar='TABLE', help=f'{names}; default: all')
    parser.add_argument(
        '--work-dirs',
        type=Path,
        help='folder with a work dir of the name of each config, whose logs of training or test have the measured '
        'numbers; the last one logged counts',
    )
    args = parser.parse_args()
    unknown = [name for name in args.tables if name not in tables]
    if unknown:
        parser.error(f'there is no table {unknown}, only {names}')
    if args.work_dirs and not args.work_dirs.is_dir():
        parser.error(f'--work-dirs {args.work_dirs} is no folder')
    return args


def measured(work_dir: Path, metrics: list[str]) -> list[float | None]:
    """The last logged value of each metric in per cent."""
    values: dict[str, float] = {}
    for entry in read_logged(work_dir):
        values |= in_percent(entry)
    return [values.get(metric) for metric in metrics]


def format_row(cells: list) -> str:
    texts = ['' if cell is None else f'{cell:.1f}' if isinstance(cell, float) else str(cell) for cell in cells]
    return f'| {" | ".join(texts)} |'


def format_table(name: str, table: dict, work_dirs: Path | None) -> str:
    """A table in Markdown."""
    metrics = table['metrics']
    header = ['config', *(f'{metric}, published' for metric in metrics)]
    if work_dirs:
        header += [f'{metric}, measured' for metric in metrics]
    rows = []
    for row in table['rows']:
        cells = [row['config'], *row['published']]
        if work_dirs:
            cells += measured(work_dirs / row['config'], metrics)
        rows.append(format_row([*cells, row.get('note')]))
    lines = [f'Table {name}: {table["title"]}', '', format_row([*header, 'note']), '|---' * (len(header) + 1) + '|']
    return '\n'.join([*lines, *rows, ''])


def main() -> None:
    tables = {str(name): table for name, table in yaml.safe_load(TABLES.read_text()).items()}
    args = parse_args(tables)
    for name in args.tables:
        print(format_table(name, tables[name], args.work_dirs))


if __name__ == '__main__':
    main()
