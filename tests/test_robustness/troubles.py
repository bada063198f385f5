"""What goes wrong in the runs of test_ends.py; imported by their configs."""

import multiprocessing
import os
import resource
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


def fail(*args: Any, **kwargs: Any) -> None:
    """Raise an error that is the fault of a program."""
    raise RuntimeError('a fault of a program')


def in_hook(runner: Runner) -> None:
    fail()


def in_model(runner: Runner) -> None:
    _model(runner).backbone.register_forward_pre_hook(fail)


def in_loss(runner: Runner) -> None:
    _model(runner).panoptic_head.criterion.loss_bbox.register_forward_hook(fail)


def in_metric(runner: Runner) -> None:
    loop = runner.test_loop if os.environ['TROUBLE_COMMAND'] == 'test' else runner.val_loop
    loop.evaluator.metrics[0].compute_metrics = fail


def in_on_fault(runner: Runner) -> None:
    runner.train_dataloader.dataset.dataset.left_out.add = fail


def kill_worker(runner: Runner) -> None:
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)


def spoil_hand_over(runner: Runner) -> None:
    """No socket can have so long a path, by which workers hand on what they load."""
    tempfile.tempdir = os.path.abspath('long' * 30)
    os.mkdir(tempfile.tempdir)


def fill_disk(runner: Runner) -> None:
    """From here on no file of more than 100 kB can be written."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def signal_to_process(runner: Runner) -> None:
    os.kill(os.getpid(), getattr(signal, os.environ['TROUBLE_SIGNAL']))


def signal_to_group(runner: Runner) -> None:
    os.killpg(os.getpgrp(), getattr(signal, os.environ['TROUBLE_SIGNAL']))


def wait_deaf(runner: Runner) -> None:
    """Get a signal while the process waits for something that never comes, where Python's handlers are not called."""
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    signal.sigwait([signal.SIGUSR1])


@HOOKS.register_module()
class Trouble(Hook):
    """Makes trouble once.

    Args:
        what (str): A function of this module.
        when (str): Method of the hook.
        iteration (int): Of the training, where there is one.
        rank (int): The process that has it.
    """

    def __init__(self, what: str, when: str, iteration: int = 2, rank: int = 0) -> None:
        self.what, self.iteration = what, iteration
        if int(os.environ.get('RANK', 0)) == rank:
            setattr(self, when, self._trouble)

    def before_val(self, runner: Runner) -> None:
        torch.save(runner.model.state_dict(), 'weights.pth')  # before averaged ones take their place

    def _trouble(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self.what and (os.environ['TROUBLE_COMMAND'] == 'test' or runner.iter >= self.iteration):
            what, self.what = self.what, ''
            Path('trouble').touch()
            globals()[what](runner)


def _model(runner: Runner) -> Any:
    return getattr(runner.model, 'module', runner.model)
