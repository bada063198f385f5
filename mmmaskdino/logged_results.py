"""Results of evaluations by the names that people use, from the logs of a training; imports no torch."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NAMES = {
    'box AP': {'coco/bbox_mAP': 100},
    'mask AP': {'coco/segm_mAP': 100},
    'PQ': {'coco_panoptic/PQ': 1},
    'mIoU': {'mIoU': 1, 'semantic/mIoU': 1},
}
"""By metric, its names in logs, each with the factor that makes it per cent."""


def in_percent(entry: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that an evaluation, or an entry of a log, has."""
    pairs = [(metric, name, factor) for metric, names in NAMES.items() for name, factor in names.items()]
    return {metric: entry[name] * factor for metric, name, factor in pairs if name in entry}


def read_logged(work_dir: Path) -> Iterator[dict[str, Any]]:
    """The entries of all logs in a work dir, oldest file first."""
    for path in sorted(work_dir.rglob('*.json'), key=lambda path: path.stat().st_mtime):
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # another json file, such as saved predictions
                break
            if isinstance(entry, dict):
                yield entry
