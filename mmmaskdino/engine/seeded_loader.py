"""Batches that depend on their number alone, so that a resumed run sees those that it would have seen."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch.utils.data import BatchSampler, DataLoader, Dataset

from mmmaskdino.engine.randomness import seed_all
from mmmaskdino.engine.worker_processes import guard_workers


class SeededIndex(NamedTuple):
    """An index of a dataset and the key of the random numbers with which its sample is augmented."""

    index: int
    key: tuple[int, ...]


class SeededDataset(Dataset):
    """A dataset that seeds all random numbers before each sample; everything else of it is as before.

    Args:
        dataset (Dataset): The dataset.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, seeded: SeededIndex) -> Any:
        seed_all(*seeded.key)
        return self.dataset[seeded.index]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet while a worker process unpickles this
            raise AttributeError(name)
        return getattr(self.dataset, name)


class SeededBatches:
    """The batches of a sampler without end, from any one on, each sample with a key of its own.

    Args:
        batch_sampler (BatchSampler): Gives batches of indices.
    """

    def __init__(self, batch_sampler: BatchSampler) -> None:
        self.batch_sampler = batch_sampler
        # Where mmengine's hooks and its FlexibleRunner look for them.
        self.sampler = getattr(batch_sampler, 'sampler', None)
        self.batch_size = getattr(batch_sampler, 'batch_size', None)
        self._key: tuple[int, ...] = ()
        self._first = 0

    def start(self, first: int, *key: int) -> None:
        """Set where iterating begins.

        Args:
            first: Number of the first batch.
            key: Key of the run and the process, which becomes a part of each sample's.
        """
        self._first, self._key = first, key

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        # Asking a sampler for the indices of batches is cheap, and right for samplers of every kind.
        for number, batch in itertools.islice(enumerate(self._endless()), self._first, None):
            yield [SeededIndex(index, (*self._key, number, place)) for place, index in enumerate(batch)]

    def _endless(self) -> Iterator[list[int]]:
        for epoch in itertools.count():
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)
            is_empty = True
            for batch in self.batch_sampler:
                is_empty = False
                yield batch
            if is_empty:
                raise ValueError(
                    'the sampler of train_dataloader gives no batch: fewer images than batch_size, and drop_last=True'
                )


class SeededLoader(DataLoader):
    """A data loader whose batches depend on their number alone. It starts no worker before the first is asked for.

    Args:
        loader (DataLoader): Has the dataset, the sampler and all settings.

    Raises:
        ValueError: The loader does not make batches.
    """

    def __init__(self, loader: DataLoader) -> None:
        if loader.batch_sampler is None:
            raise ValueError('train_dataloader makes no batches: expected a batch_size or a batch_sampler, got neither')
        super().__init__(
            SeededDataset(loader.dataset),
            batch_sampler=SeededBatches(loader.batch_sampler),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            pin_memory_device=loader.pin_memory_device,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
        )
        guard_workers(self)

    def __iter__(self) -> Iterator[Any]:
        yield from super().__iter__()
