"""What is done about data that cannot be used: an error, or going on without it and writing down what was left out."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

ON_FAULT = ('error', 'leave_out')
MAX_LISTED = 5


class LeftOutList:
    """The images that a dataset leaves out, in a file of one json object per line: `image`, `dataset`, `problems`.

    Every process and every worker adds its own; each image is written once. A resumed run goes on with the list.

    Args:
        path: The file.
        dataset: Annotation file or folder, by which the datasets of one list are told apart.
    """

    def __init__(self, path: str, dataset: str) -> None:
        self.path = Path(path)
        self.dataset = dataset
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        lines = [json.loads(line) for line in self.path.read_text(encoding='utf-8').splitlines()]
        self._known = {line['image'] for line in lines if line['dataset'] == dataset}

    def add(self, image: Any, problems: Sequence[str]) -> None:
        """Write an image down and warn of it; nothing if it was before.

        Args:
            image: Path or id.
            problems: Why it cannot be used.
        """
        image = str(image)
        if image in self._known:
            return
        self._known.add(image)
        line = json.dumps({'image': image, 'dataset': self.dataset, 'problems': list(problems)}, ensure_ascii=False)
        # One write to the end of a file is not mixed with those of other processes.
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(line + '\n')
        print_log(f'image {image} is left out, see {self.path}: {problems[0]}', 'current', logging.WARNING)


def check_on_fault(on_fault: str, left_out_file: str | None, test_mode: bool) -> None:
    """Check the settings of a dataset.

    Args:
        on_fault: `error` or `leave_out`.
        left_out_file: Where the images are listed that are left out.
        test_mode: Whether the dataset is for evaluation.

    Raises:
        ValueError: They do not go together.
    """
    if on_fault not in ON_FAULT:
        raise ValueError(f'dataset: on_fault must be one of {ON_FAULT}, got {on_fault!r}')
    if on_fault == 'error':
        if left_out_file is not None:
            raise ValueError("dataset: left_out_file needs on_fault='leave_out'; with 'error' nothing is left out")
        return
    if test_mode:
        raise ValueError(
            "dataset: on_fault='leave_out' is for training; an evaluation without some of its images gives numbers "
            'that cannot be compared. Fix the images, or remove them from the annotations for all'
        )
    if not left_out_file:
        raise ValueError(
            "dataset: on_fault='leave_out' needs left_out_file, the path of the file that lists what was left out, for "
            "example left_out_file='work_dirs/left_out.jsonl'"
        )
