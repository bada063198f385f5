"""Random numbers that depend on where in the training they are drawn, and on nothing that happened before."""

import random

import numpy as np
import torch


def seed_all(*key: int) -> None:
    """Seed Python, numpy and torch, on all devices, without waiting for any.

    Args:
        key: Non-negative numbers, for instance seed, rank and iteration. Keys that differ give unrelated numbers.
    """
    # Neighbouring keys must not give neighbouring states, which numpy's SeedSequence is made for.
    for_python, for_numpy, for_torch = np.random.SeedSequence(key).generate_state(3).tolist()
    random.seed(for_python)
    np.random.seed(for_numpy)
    torch.manual_seed(for_torch)
