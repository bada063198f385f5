"""Configs whose texts stay texts when a run saves them, and what is wrong with one whose objects cannot be built."""

from __future__ import annotations

import ast
import inspect
import re
import traceback
from types import FrameType
from typing import Any

from mmengine.config import Config
from mmengine.registry import OPTIMIZERS, Registry

from mmmaskdino.hub.table import did_you_mean
from mmmaskdino.plain_text import without_templates

_UNEXPECTED = re.compile(r"got an unexpected keyword argument '(\w+)'")

# Registered classes. mmengine takes any other name with dots as a function to import and call.
_TYPE = re.compile(r'((mmengine|mmcv|mmdet|mmseg|mmpretrain)\.)?[A-Z]\w*')
_NUMBERS = dict(inf=float('inf'), nan=float('nan'))


class PlainConfig(Config):
    """A config whose text, as it is saved with a run and in checkpoints, reads back as the same values."""

    @classmethod
    def of(cls, cfg: Config) -> PlainConfig:
        """The same config, of this class; the values are shared."""
        plain = cls.__new__(cls)
        plain.__setstate__(cfg.__getstate__())
        return plain

    @property
    def pretty_text(self) -> str:
        """The config as Python code."""
        return without_templates(super().pretty_text)

    @classmethod
    def read(cls, text: str, origin: str) -> PlainConfig:
        """Read a config as a run saves it in its checkpoints; nothing in it is run and no module is imported.

        Args:
            text: Python code that assigns plain values to names; each `type` must name a registered class.
            origin: Where it is from, for messages.

        Raises:
            ValueError: It is anything else.
        """
        values = {}
        try:
            for statement in ast.parse(text).body:
                if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
                    raise ValueError(f'line {statement.lineno} is no assignment')
                values[statement.targets[0].id] = _plain_value(statement.value)
        except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f'the config in {origin} was not read: {error}. Plain values alone are read; give the config as a file'
            ) from error
        _check_types(values, origin)
        return cls.of(Config(values, cfg_text=text, filename=origin))


def _check_types(value: Any, origin: str) -> None:
    if isinstance(value, dict):
        kind = value.get('type')
        if isinstance(kind, str) and not _TYPE.fullmatch(kind):
            raise ValueError(
                f'the config in {origin} was not read: its type {kind!r} is no name of a registered class, and could '
                'run anything; give the config as a file if you trust it'
            )
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        _check_types(part, origin)


def _plain_value(node: ast.expr) -> Any:
    """The value of an expression of constants, lists, tuples, dicts and `dict(...)`.

    Raises:
        ValueError: Something else is in it.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        pairs = {key: value for mapping in node.args for key, value in _plain_value(mapping).items()}
        for keyword in node.keywords:
            value = _plain_value(keyword.value)
            pairs.update({keyword.arg: value} if keyword.arg else value)
        return pairs
    if isinstance(node, ast.Dict) and None not in node.keys:  # None: ** of another
        return {_plain_value(key): _plain_value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        kind = {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)]
        return kind(_plain_value(item) for item in node.elts)
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_plain_value(node.operand)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f'line {node.lineno} has {ast.unparse(node)[:60]}') from None


def wrong_in_config(error: BaseException) -> str | None:
    """What to say about a class of a config that does not exist, or a key that its class does not take.

    Args:
        error: Raised while mmengine built an object.

    Returns:
        What is wrong, and what was meant or can be given; None for an error of another kind.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return _wrong_type(error, frames) or _wrong_argument(error, frames)


def _wrong_type(error: BaseException, frames: list[FrameType]) -> str | None:
    """About a name that no class was registered by."""
    if not isinstance(error, (KeyError, TypeError)):
        return None
    for values in (frame.f_locals for frame in reversed(frames)):
        # In mmengine's build_from_cfg, and in its constructor of optimisers, which looks them up itself.
        registry, name = values.get('registry'), values.get('obj_type')
        if 'optimizer_cls' in values and values['optimizer_cls'] is None:
            registry, name = OPTIMIZERS, (values.get('optimizer_cfg') or {}).get('type')
        if isinstance(registry, Registry) and isinstance(name, str):
            return None if registry.get(name) else _about_unknown_type(name, registry)
    return None


def _about_unknown_type(name: str, registry: Registry) -> str:
    known, others = set(), [registry.root]
    while others:
        branch = others.pop()
        known.update(branch.module_dict)
        others.extend(branch.children.values())
    what = registry.name.replace('_', ' ')
    return (
        f"the config names the {what} {name!r}, which is not registered (a class of one's own needs its module in "
        f'custom_imports){did_you_mean(name.rpartition(".")[2], known)}'
    )


def _wrong_argument(error: BaseException, frames: list[FrameType]) -> str | None:
    found = _UNEXPECTED.search(str(error)) if isinstance(error, TypeError) else None
    while frames and frames[-1].f_code.co_name == '__init__':  # of a class that hands its arguments to its base
        frames.pop()
    building = frames[-1].f_locals if frames else {}  # in mmengine's build_from_cfg
    built = building.get('obj_cls')
    if found is None or not inspect.isclass(built) or found[1] not in building.get('args', {}):
        return None
    known = {
        name
        for base in built.__mro__
        if '__init__' in vars(base)
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if name != 'self' and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    hint = did_you_mean(found[1], known) or f'; it takes {", ".join(sorted(known))}'
    return f'the config gives {built.__name__} the argument {found[1]!r}, which it does not take{hint}'
