"""Rules between the parameter names of two code bases, read in both directions."""

import re


class NameRules:
    """Pairs of names, or of beginnings of names, that mean the same tensors.

    ``{}`` in both names of a pair stands for the same number. A name that ends with a dot stands for everything below
    it. The first pair that fits counts.

    Args:
        pairs (tuple[str, str]): Name there, name here.
    """

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._forward = [(_pattern(theirs), ours) for theirs, ours in pairs]
        self._backward = [(_pattern(ours), theirs) for theirs, ours in pairs]

    def forward(self, name: str) -> str | None:
        """The name here of a name there; None where no pair fits."""
        return _translate(name, self._forward)

    def backward(self, name: str) -> str | None:
        """The name there of a name here; None where no pair fits."""
        return _translate(name, self._backward)


def _pattern(name: str) -> re.Pattern:
    rest = '(.+)' if name.endswith('.') else '()'
    return re.compile(re.escape(name).replace(r'\{\}', r'(\d+)') + rest)


def _translate(name: str, rules: list[tuple[re.Pattern, str]]) -> str | None:
    for pattern, template in rules:
        if match := pattern.fullmatch(name):
            *numbers, rest = match.groups()
            return template.format(*numbers) + rest
    return None
