"""Panoptic quality as text."""

from collections.abc import Sequence

import numpy as np

from mmmaskdino.evaluation.panoptic_quality import PanopticQuality


def format_table(quality: PanopticQuality, is_thing: np.ndarray, classes: Sequence[str] | None = None) -> str:
    """Tabulate PQ, SQ and RQ in percent.

    Args:
        quality: The accumulated counts.
        is_thing: (num_classes,) bool.
        classes: Names of the classes, to list each of them; None leaves them out.

    Returns:
        Lines of text: all, things and stuff, each with the number of classes averaged, then every class with its kind;
        '-' stands where nothing was evaluated.
    """
    rows = []
    for name, chosen in (('all', np.ones_like(is_thing)), ('things', is_thing), ('stuff', ~is_thing)):
        average = quality.average(chosen)
        rows.append((name, average, average['n'] > 0, f'{average["n"]} classes'))
    if classes is not None:
        values = quality.per_class()
        for label, name in enumerate(classes):
            row = {k: values[k][label] for k in ('pq', 'sq', 'rq')}
            rows.append((name, row, values['occurs'][label], 'thing' if is_thing[label] else 'stuff'))
    width = max(len(name) for name, *_ in rows)
    lines = [f'{"":{width}}  {"PQ":>6}  {"SQ":>6}  {"RQ":>6}']
    for name, row, occurs, note in rows:
        cells = '  '.join(f'{100 * row[k]:6.2f}' if occurs else f'{"-":>6}' for k in ('pq', 'sq', 'rq'))
        lines.append(f'{name:{width}}  {cells}  {note}')
    return '\n'.join(lines)
