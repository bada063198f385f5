"""What a conversion gives, and the proof that nothing was lost on the way."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

# BatchNorm counts batches in training only; torch starts at 0 where a file has no count.
UNCOUNTED = r'.*\.num_batches_tracked$'


class Conversion(NamedTuple):
    """Converted tensors and the account of every tensor of the source."""

    tensors: dict[str, Tensor]
    """Tensors by their new names."""
    used: dict[str, str]
    """New name by name in the source."""
    dropped: dict[str, str]
    """Reason by name in the source."""
    added: dict[str, str] = {}
    """Reason by new name, of tensors that do not come from the source."""
    absent: dict[str, str] = {}
    """Reason by pattern of new names, of what a source of this kind cannot have."""

    def renamed(self, source_prefix: str, target_prefix: str) -> 'Conversion':
        """The same with prefixes before the names of the source and before the new names."""
        return Conversion(
            _prefixed(self.tensors, target_prefix),
            {source_prefix + name: target_prefix + new for name, new in self.used.items()},
            _prefixed(self.dropped, source_prefix),
            _prefixed(self.added, target_prefix),
            {f'{re.escape(target_prefix)}{pattern}': reason for pattern, reason in self.absent.items()},
        )


def join(*parts: Conversion) -> Conversion:
    """One conversion of several parts of a model."""
    return Conversion(*({k: v for part in parts for k, v in part[i].items()} for i in range(len(Conversion._fields))))


def rename(
    source: Mapping[str, Tensor],
    new_name: Callable[[str], str | None],
    what: str,
    drops: Mapping[str, str] | None = None,
) -> Conversion:
    """Rename tensors.

    Args:
        source (Mapping[str, Tensor]): Tensors by name.
        new_name (Callable[[str], str | None]): New name of a name, None for a foreign one.
        what (str): What the source should be, for the error.
        drops (Mapping[str, str] | None): Patterns of names that have no counterpart, and why.

    Returns:
        Conversion: The renamed tensors.

    Raises:
        ValueError: If a name is foreign, or two tensors would get the same name.
    """
    tensors, used, dropped = {}, {}, {}
    for name, tensor in source.items():
        if reason := reason_for(name, drops or {}):
            dropped[name] = reason
            continue
        new = new_name(name)
        if new is None:
            raise ValueError(f'{name} is no parameter of {what}')
        if new in tensors:
            raise ValueError(f'{name} and another tensor of {what} are both {new} here')
        tensors[new], used[name] = tensor, new
    return Conversion(tensors, used, dropped)


def reason_for(name: str, reasons: Mapping[str, str]) -> str | None:
    """The reason whose pattern fits the beginning of a name; None where none fits."""
    return next((reason for pattern, reason in reasons.items() if re.match(pattern, name)), None)


def verify(conversion: Conversion, source: Iterable[str], shapes: Mapping[str, torch.Size]) -> dict[str, str]:
    """Check that every tensor of the source is accounted for and that the result is the model's state.

    Args:
        conversion (Conversion): The conversion.
        source (Iterable[str]): Names in the source.
        shapes (Mapping[str, torch.Size]): Shapes of the model's state by name.

    Returns:
        dict[str, str]: Reason by name of the model's tensors that stay as they were initialised.

    Raises:
        ValueError: If a tensor is missing, unexpected, of another shape, unaccounted for, or used twice.
    """
    missing = [name for name in shapes if name not in conversion.tensors and not re.match(UNCOUNTED, name)]
    random = {name: reason for name in missing if (reason := reason_for(name, conversion.absent))}
    lost = [name for name in missing if name not in random]
    problems = [f'{name}: missing, the model has it with shape {tuple(shapes[name])}' for name in lost]
    for name, tensor in conversion.tensors.items():
        if name not in shapes:
            problems.append(f'{name}: unexpected, the model has no such tensor')
        elif tensor.shape != shapes[name]:
            problems.append(f'{name}: expected shape {tuple(shapes[name])}, got {tuple(tensor.shape)}')
    problems += _unaccounted(conversion, set(source))
    if problems:
        shown = ''.join(f'\n  {text}' for text in problems[:20])
        more = f'\n  ... and {len(problems) - 20} more' if len(problems) > 20 else ''
        raise ValueError(f'The weights do not fit the model of the config ({len(problems)} problems):{shown}{more}')
    return random


def _unaccounted(conversion: Conversion, source: set[str]) -> list[str]:
    used, dropped = set(conversion.used), set(conversion.dropped)
    problems = [f'{name}: neither used nor dropped with a reason' for name in sorted(source - used - dropped)]
    problems += [f'{name}: both used and dropped' for name in sorted(used & dropped)]
    problems += [f'{name}: not in the source' for name in sorted((used | dropped) - source)]
    made = [*conversion.used.values(), *conversion.added]
    if len(set(made)) != len(made) or set(made) != set(conversion.tensors):
        problems.append('a converted tensor has not exactly one origin')
    return problems


def _prefixed(names: Mapping, prefix: str) -> dict:
    return {prefix + name: value for name, value in names.items()}
