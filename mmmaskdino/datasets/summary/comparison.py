"""Whether the parts of a dataset fit each other."""

from __future__ import annotations

from collections.abc import Sequence

from mmmaskdino.datasets.annotation_report import as_json

from .checking import SplitSummary


def compare_parts(summaries: Sequence[SplitSummary]) -> list[str]:
    """What keeps the parts of one kind from being trained on and evaluated together.

    Args:
        summaries: Of parts of the same kind. Label maps have no names, by which classes could be compared.

    Returns:
        Problems, each in one line. The order of the classes does not matter, since they are found by name.
    """
    problems = []
    first = summaries[0]
    for other in summaries[1:]:
        if (
            first.split.kind == 'semantic' or not first.classes or not other.classes
        ):  # the latter has problems of its own
            continue
        pairs = ((first, other.classes), (other, first.classes))
        lacking = {s.split.source: [name for name in names if name not in s.classes] for s, names in pairs}
        if any(lacking.values()):
            what = ', '.join(f'{source} lacks {as_json(names)}' for source, names in lacking.items() if names)
            problems.append(
                f'{" and ".join(map(str, lacking))} have different classes: {what}; give both the same '
                "'categories', also those without objects there"
            )
        if first.objects and other.objects and first.has_masks != other.has_masks:
            with_masks, without = (first, other) if first.has_masks else (other, first)
            problems.append(
                f'{with_masks.split.source} has masks, {without.split.source} has boxes alone; give both masks, or '
                'train boxes alone (mmmaskdino data config --boxes-only)'
            )
    return problems


def find_unused_classes(summaries: Sequence[SplitSummary]) -> list[str]:
    """Classes without any object in any part, such as an entry of the categories that groups the others.

    Args:
        summaries: Of all parts of the dataset that have instances.

    Returns:
        Names, in the order of the first part; none where no part has an object at all.
    """
    used = {summary.classes[label] for summary in summaries for label in summary.objects}
    return [name for name in summaries[0].classes if name not in used] if used else []
