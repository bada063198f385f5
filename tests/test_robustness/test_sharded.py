"""Weights that are shared out among processes (FSDP), on the CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from packaging import version
from torch.distributed.fsdp import FullyShardedDataParallel

from mmmaskdino.engine import NonFiniteHook, find_resumable_checkpoint

pytestmark = pytest.mark.slow
SHARDED = {'runner_type': 'FlexibleRunner', 'strategy': dict(type='ShardedStrategy')}
RUNS_ON_CPU = version.parse(torch.__version__) >= version.parse('2.12')
needs_cpu = pytest.mark.skipif(not RUNS_ON_CPU, reason='FSDP of this torch does not run on the CPU')
OPTIONS = {'train_cfg.max_iters': 4, 'default_hooks.checkpoint': dict(interval=2, max_keep_ckpts=2)}


class Norms(Hook):
    """Writes the norm of the gradient of each iteration, and how many of the weights this process has."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        own = sum(parameter.numel() for parameter in runner.model.parameters())
        norm = runner.message_hub.get_scalar('train/grad_norm').current()
        with open(self.path, 'a') as file:
            file.write(json.dumps([norm, own, isinstance(runner.model, FullyShardedDataParallel)]) + '\n')


class CountSkipped(Hook):
    """Writes how many steps were left out; puts a NaN into the first gradient of this process's share, if asked to."""

    priority = 'HIGHEST'  # before NonFiniteHook looks at the gradient

    def __init__(self, path: Path, spoils: bool = False) -> None:
        self.path, self.spoils = path, spoils

    def before_train(self, runner) -> None:
        assert not runner.optim_wrapper.clip_grad_kwargs
        step = runner.optim_wrapper.step

        def spoiled_step(**kwargs) -> None:
            self._spoil(runner, runner.optim_wrapper.optimizer)
            step(**kwargs)

        runner.optim_wrapper.step = spoiled_step

    def _spoil(self, runner, optimizer: torch.optim.Optimizer) -> None:
        if self.spoils and runner.iter == 0:
            gradients = (p.grad for group in optimizer.param_groups for p in group['params'])
            next(grad for grad in gradients if grad is not None and grad.numel()).view(-1)[0] = torch.nan

    def after_train(self, runner) -> None:
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, NonFiniteHook))
        self.path.write_text(str(hook.num_skipped))


@pytest.mark.skipif(RUNS_ON_CPU, reason='only older versions of torch do not share out weights on the CPU')
def test_an_old_torch_is_rejected_on_the_cpu(train_ranks, tmp_path: Path) -> None:
    assert train_ranks('rejected', 2, SHARDED) == [1, 1]
    assert 'ShardedStrategy needs a GPU, or a newer torch' in (tmp_path / 'rejected_0.txt').read_text()


@needs_cpu
def test_sharded_training_is_training(train_ranks, read_losses, tmp_path: Path) -> None:
    """Losses, norms and weights are those of whole copies; checkpoints are files like any other; the run resumes."""
    # Sums in another order round otherwise, which may choose another of two nearly equally uncertain points.
    options = OPTIONS | {'model.panoptic_head.criterion.importance_sample_ratio': 0.0}
    for work_dir, changes in (('whole', options), ('sharded', options | SHARDED)):
        hooks = {rank: Norms(tmp_path / f'{work_dir}_{rank}.norms') for rank in range(2)}
        assert train_ranks(work_dir, 2, changes, hooks=hooks) == [0, 0]
    shares = []
    for rank in range(2):
        expected, losses = read_losses(f'whole_{rank}'), read_losses(f'sharded_{rank}')
        assert len(losses) == 4
        for iteration, values in losses.items():
            assert values == pytest.approx(expected[iteration], rel=1e-4, abs=1e-5)
        whole, own = (
            [json.loads(line) for line in (tmp_path / f'{name}_{rank}.norms').read_text().splitlines()]
            for name in ('whole', 'sharded')
        )
        assert [norm for norm, _, _ in own] == pytest.approx([norm for norm, _, _ in whole], rel=1e-3)
        assert all(is_sharded for _, _, is_sharded in own) and not any(is_sharded for _, _, is_sharded in whole)
        shares.append(own[-1][1] / whole[-1][1])
    assert sum(shares) == pytest.approx(1, abs=1e-3) and max(shares) < 0.51
    weights, sharded = (torch.load(tmp_path / name / 'iter_2.pth', weights_only=False) for name in ('whole', 'sharded'))
    assert sharded['state_dict'].keys() == weights['state_dict'].keys()
    for name, tensor in weights['state_dict'].items():
        torch.testing.assert_close(sharded['state_dict'][name], tensor, rtol=1e-4, atol=1e-4, msg=name)
    assert not list((tmp_path / 'sharded').glob('*.partial'))

    (tmp_path / 'sharded' / 'iter_4.pth').unlink()
    path = find_resumable_checkpoint(tmp_path / 'sharded')
    assert Path(path).name == 'iter_2.pth'
    before = [read_losses(f'sharded_{rank}') for rank in range(2)]
    for rank in range(2):
        (tmp_path / f'sharded_{rank}.jsonl').unlink()
    assert train_ranks('sharded', 2, {**options, **SHARDED, 'load_from': path, 'resume': True}) == [0, 0]
    for rank in range(2):
        losses = read_losses(f'sharded_{rank}')
        assert list(losses) == [2, 3]
        for iteration, values in losses.items():
            assert values == pytest.approx(before[rank][iteration], rel=1e-6)


@needs_cpu
def test_all_leave_out_a_step_that_one_share_spoils(train_ranks, tmp_path: Path) -> None:
    changes = {**SHARDED, 'train_cfg.max_iters': 2, 'optim_wrapper.clip_grad': None}
    hooks = {rank: CountSkipped(tmp_path / f'skipped_{rank}', spoils=rank == 1) for rank in range(2)}
    assert train_ranks('broken', 2, changes, hooks=hooks) == [0, 0]
    assert [(tmp_path / f'skipped_{rank}').read_text() for rank in range(2)] == ['1', '1']
