"""Prediction on a cluster with Ray Data: read, predict in actors, write Parquet. Needs the extra ``ray``."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmaskdino.datasets.files import DataError

from .prediction import Failure
from .predictor import Predictor
from .reading import MEGA, Limits, read_bytes
from .records import parquet_schema, record_of
from .sources import find_images

if TYPE_CHECKING:
    import pyarrow

READ_AT_ONCE = 16  # files by one task


class RayPredictor:
    """The model in an actor of Ray: `dataset.map_batches(RayPredictor, fn_constructor_kwargs=...)`.

    Args:
        model: As of :class:`Predictor`.
        weights: As of :class:`Predictor`.
        kinds: Results wanted, some of 'instances', 'panoptic', 'semantic'.
        batch_size: Most images per forward pass.
        options: Further arguments of :class:`Predictor`.
    """

    def __init__(
        self, model: str, weights: str | None, kinds: Sequence[str], batch_size: int = 1, **options: Any
    ) -> None:
        self._predictor = Predictor(model, weights, kinds=kinds, **options)
        self._kinds, self._batch_size = list(kinds), batch_size

    def __call__(self, batch: dict[str, np.ndarray]) -> pyarrow.Table:
        """Predict for some images.

        Args:
            batch: 'file_name', 'content' (the bytes of the file) and 'error' (why they are not there, or empty).

        Returns:
            A row for each, as :func:`parquet_schema` says; one that failed has the reason in 'error'.
        """
        import pyarrow

        rows: list[dict[str, Any]] = [
            dict(file_name=str(name), error=str(error) or None)
            for name, error in zip(batch['file_name'], batch['error'], strict=True)
        ]
        read = [index for index, row in enumerate(rows) if row['error'] is None]
        images = [(rows[index]['file_name'], bytes(batch['content'][index])) for index in read]
        for index, result in zip(read, self._predictor.predict(images, self._batch_size), strict=True):
            if isinstance(result, Failure):
                rows[index]['error'] = result.reason
            else:
                rows[index] = record_of(result, rows[index]['file_name'], self._kinds, self._kinds)
        return pyarrow.Table.from_pylist(rows, parquet_schema(self._kinds))


def predict_with_ray(
    source: str | Path | Sequence[str | Path],
    out: str,
    model: str,
    weights: str | None = None,
    kinds: Sequence[str] = ('instances',),
    actors: int | tuple[int, int] = 1,
    gpus: float = 0,
    batch_size: int = 1,
    **options: Any,
) -> list[Failure]:
    """Predict for many images on the machine or cluster that Ray is connected to.

    The images are read by tasks on any machine and predicted by actors with a model each. An actor that dies is started
    again and its images with it; an image that cannot be read or predicted is a row with the reason. It is for one run
    from begin to end: what can go on after a stop is `mmmaskdino predict`.

    Args:
        source: As of :func:`find_images`; what all machines reach: a shared folder or a bucket, no video.
        out: Folder for the Parquet files, which all machines reach; it must be empty.
        model: As of :class:`Predictor`; a name, or a file that all machines reach.
        weights: As of :class:`Predictor`.
        kinds: Results wanted, some of 'instances', 'panoptic', 'semantic'.
        actors: How many models, or how few and how many: Ray starts more while images wait.
        gpus: GPUs for each actor, also a part of one; 0 for the CPU.
        batch_size: Most images per forward pass.
        options: Further arguments of :class:`Predictor`.

    Returns:
        The images without results.

    Raises:
        DataError: There is nothing to predict, or a video is among it.
        FileExistsError: There are files in `out`.
    """
    import ray

    files = find_images(source).files
    videos = [str(file.path) for file in files if file.is_video]
    if videos:
        raise DataError(f'{videos[0]}: videos are not shared out by Ray; use mmmaskdino predict')
    if Path(out).is_dir() and any(Path(out).iterdir()):
        raise FileExistsError(f'{out} is not empty; choose another folder, so that no results are mixed')
    limits = options.get('limits') or Limits()
    dataset = ray.data.from_items([dict(file=pickle.dumps(file)) for file in files])
    dataset = dataset.map_batches(
        _read, batch_size=READ_AT_ONCE, fn_kwargs=dict(most=int(limits.max_megapixels * MEGA * 4))
    )
    arguments = dict(model=model, weights=weights, kinds=list(kinds), batch_size=batch_size, **options)
    arguments.setdefault('device', 'cuda' if gpus else 'cpu')
    dataset.map_batches(
        RayPredictor,
        fn_constructor_kwargs=arguments,
        batch_size=4 * batch_size,
        num_gpus=gpus or None,
        compute=ray.data.ActorPoolStrategy(**_pool(actors)),
    ).write_parquet(out)
    return find_failures(out)


def find_failures(folder: str) -> list[Failure]:
    """The images without results of a folder of Parquet files, or of one file."""
    import pyarrow.dataset

    table = pyarrow.dataset.dataset(folder, format='parquet').to_table(columns=['file_name', 'error'])
    return [Failure(row['file_name'], row['error']) for row in table.to_pylist() if row['error'] is not None]


def _read(batch: dict[str, np.ndarray], most: int) -> dict[str, np.ndarray]:
    """The bytes of some files, or why they cannot be read."""
    files = [pickle.loads(bytes(file)) for file in batch['file']]
    contents, errors = [], []
    for file in files:
        content, error = b'', ''
        try:
            content = read_bytes(file.path, most)
        except (DataError, OSError) as raised:
            error = str(raised)
        contents.append(content)
        errors.append(error)
    # As objects: numpy's arrays of bytes lose zeros at their ends.
    columns = dict(file_name=[file.file_name for file in files], content=contents, error=errors)
    return {name: np.array(values, dtype=object) for name, values in columns.items()}


def _pool(actors: int | tuple[int, int]) -> dict[str, int]:
    if isinstance(actors, int):
        return dict(size=actors)
    return dict(min_size=actors[0], max_size=actors[1])
