"""Training that goes on where it was interrupted as if it had not been."""

from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_rank
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from mmmaskdino.engine.randomness import seed_all
from mmmaskdino.engine.seeded_loader import SeededLoader

# First part of the keys of random numbers: those of the data and those of the model are unrelated.
_DATA, _MODEL = 0, 1


@LOOPS.register_module()  # of mmengine, so that mmdet and mmseg find it
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's `IterBasedTrainLoop`, in which iteration N is the same whether the run was interrupted or not.

    The order of the images, their augmentation and the random numbers of the model (sampled points, noise) depend on
    the seed, the rank and the iteration, so they need no place in checkpoints. Resuming skips what was trained on
    without loading it. It goes on exactly as long as the seed, the number of processes and the batch size stay.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The data; with or without an end.
        kwargs: The other arguments of mmengine's loop.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        if isinstance(dataloader, dict):
            different_ranks = runner._randomness_cfg.get('diff_rank_seed', False)
            dataloader = runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=different_ranks)
        self._built_with = runner.seed
        super().__init__(runner, SeededLoader(dataloader), **kwargs)

    def run(self) -> nn.Module:
        """Train to the end.

        Returns:
            nn.Module: The model.
        """
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            batch = next(batches)
            seed_all(_MODEL, self.runner.seed, get_rank(), self._iter)
            self.run_iter(batch)
            self._decide_current_val_interval()
            if self._is_validated():
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches(self) -> Iterator[Any]:
        """The batches from the next iteration on."""
        seed = self.runner.seed
        batches = self.dataloader.batch_sampler
        if getattr(batches.sampler, 'seed', None) == self._built_with:
            batches.sampler.seed = seed  # a resumed run takes the seed of its checkpoint
        batches.start(self._iter, _DATA, seed, get_rank())
        return iter(self.dataloader)

    def _is_validated(self) -> bool:
        is_due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        return is_due and self.runner.val_loop is not None and self._iter >= self.val_begin
