"""Weights of a model with other classes: rows of the class head and of the label embedding, matched by class name."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping, Sequence

import torch
from torch import Tensor

CLASS_HEAD = 'heads.classify.weight'
CLASS_TENSORS = (CLASS_HEAD, 'heads.classify.bias', 'denoising.label_embedding.weight')


def head_prefix(names: Iterable[str]) -> str | None:
    """What comes before the names of the head's tensors; None without such a head."""
    return next((name.removesuffix(CLASS_HEAD) for name in names if name.endswith(CLASS_HEAD)), None)


def match_classes(source: Sequence[str], target: Sequence[str]) -> dict[int, int]:
    """Match class names.

    Capitals, spaces, hyphens and underscores do not count where the name is still unique without them.

    Args:
        source (Sequence[str]): Class names of the weights.
        target (Sequence[str]): Class names of the model.

    Returns:
        dict[int, int]: Index in the source by index in the target.
    """
    exact = {name: i for i, name in enumerate(source)}
    loose_names = [_loose(name) for name in source]
    counts = Counter(loose_names)
    wanted = Counter(_loose(name) for name in target)
    loose = {name: i for i, name in enumerate(loose_names) if counts[name] == 1 and wanted[name] == 1}
    matches = {i: exact.get(name, loose.get(_loose(name))) for i, name in enumerate(target)}
    return {i: row for i, row in matches.items() if row is not None}


def adapt_classes(
    state: MutableMapping[str, Tensor],
    model: Mapping[str, Tensor],
    source: Sequence[str] | None,
    target: Sequence[str] | None,
) -> str | None:
    """Fit the class tensors of loaded weights to a model, in place; rows without a match keep the model's values.

    Without class names on either side nothing can be matched: tensors of the model's shape are kept as they are, others
    are replaced by the model's.

    Args:
        state (MutableMapping[str, Tensor]): Loaded weights, with their head at the model's prefix.
        model (Mapping[str, Tensor]): The model's state.
        source (Sequence[str] | None): Class names of the weights; None if unknown.
        target (Sequence[str] | None): Class names of the model; None if unknown.

    Returns:
        str | None: What was done, for the user; None if the classes are the same.
    """
    prefix = head_prefix(model)
    names = [prefix + name for name in CLASS_TENSORS if prefix + name in state and prefix + name in model]
    if not source or not target:
        other = [name for name in names if state[name].shape != model[name].shape]
        state.update({name: model[name].clone() for name in other})
        unknown = 'of the weights' if not source else 'of the dataset'
        kept = f'stay at their initialisation: {", ".join(other)}' if other else 'were loaded in their order'
        return f'The class names {unknown} are not known, so the class head and the label embedding {kept}.'
    if list(source) == list(target):
        return None
    rows = match_classes(source, target)
    for name in names:
        state[name] = take_rows(state[name], model[name], rows, len(source), len(target))
    missing = [name for i, name in enumerate(target) if i not in rows]
    new = f' New, at their initialisation: {_shorten(missing)}.' if missing else ''
    unused = [name for i, name in enumerate(source) if i not in rows.values()]
    left = f' Not used: {_shorten(unused)}.' if unused else ''
    return f'{len(rows)} of {len(target)} classes are taken by name from the {len(source)} of the weights.{new}{left}'


def take_rows(source: Tensor, initial: Tensor, rows: Mapping[int, int], num_source: int, num_target: int) -> Tensor:
    """Rows of loaded weights in the order of a model's classes.

    Args:
        source (Tensor): (num_source or num_source + 1, ...); the additional row is no object.
        initial (Tensor): (num_target or num_target + 1, ...), the model's values.
        rows (Mapping[int, int]): Row in the source by row in the target.
        num_source (int): Classes of the weights.
        num_target (int): Classes of the model.

    Returns:
        Tensor: Shape of ``initial``.
    """
    if source.shape[1:] != initial.shape[1:]:
        return initial.clone()
    rows = dict(rows)
    if len(source) == num_source + 1 and len(initial) == num_target + 1:
        rows[num_target] = num_source
    filled = initial.detach().clone()
    if rows:
        filled[torch.tensor(list(rows))] = source[torch.tensor(list(rows.values()))].to(filled)
    return filled


def _loose(name: str) -> str:
    return re.sub(r'[\s_-]+', ' ', name).strip().casefold()


def _shorten(names: Sequence[str], limit: int = 12) -> str:
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return ', '.join(names[:limit]) + more
