"""Every option that a config can set, from the signatures and docstrings of the registered classes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import docstring_parser
import mmengine.registry
from mmengine.registry import Registry

import mmmaskdino
import mmmaskdino.engine.sharding  # imported by the runs alone that ask for it
from mmmaskdino.models.seg_heads.fusion_settings import FusionSettings

PACKAGE = mmmaskdino.__name__
SECTIONS = {
    'MODELS': 'Models',
    'TASK_UTILS': 'Matching and denoising',
    'DATASETS': 'Datasets',
    'TRANSFORMS': 'Pipeline steps',
    'METRICS': 'Metrics',
    'HOOKS': 'Hooks',
    'LOOPS': 'Loops',
    'OPTIMIZERS': 'Optimisers',
    'OPTIM_WRAPPER_CONSTRUCTORS': 'Constructors of the optimiser wrapper',
    'STRATEGIES': 'Strategies',
    'VISUALIZERS': 'Visualizers',
}


class Option(NamedTuple):
    """A parameter of a class."""

    name: str
    default: str
    """As Python writes it; '' where a value must be given."""
    description: str


class Options(NamedTuple):
    """What a class takes."""

    own: list[Option]
    """Of the class and of those of its bases that belong to this package."""
    inherited_from: str
    """The base of another package that takes the rest; '' if there is none."""


def registered_classes() -> dict[str, list[tuple[str, str, type]]]:
    """(scope, name, class) of the classes of this package, by the name of their registry."""
    found: dict[str, list[tuple[str, str, type]]] = {}
    for name, root in vars(mmengine.registry).items():
        if isinstance(root, Registry):
            classes = [
                (registry.scope, key, value)
                for registry in (root, *root.children.values())
                for key, value in registry.module_dict.items()
                if value.__module__.split('.')[0] == PACKAGE
            ]
            if classes:
                found[name] = sorted(classes, key=lambda entry: (entry[2].__module__, entry[1]))
    return found


def find_options(cls: type) -> Options:
    """What a class takes, from itself up to the first base that takes nothing more or is another package's.

    Raises:
        ValueError: A parameter has no description in a docstring.
    """
    own: dict[str, Option] = {}
    for base in (base for base in cls.__mro__ if '__init__' in vars(base)):
        if base.__module__.split('.')[0] != PACKAGE:
            is_public = base is not object
            return Options(list(own.values()), f'{base.__module__}.{base.__qualname__}' if is_public else '')
        parameters = list(inspect.signature(base).parameters.values())
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                option = Option(parameter.name, _default(parameter), _describe(parameter.name, base, cls))
                own.setdefault(parameter.name, option)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return Options(list(own.values()), '')


def _default(parameter: inspect.Parameter) -> str:
    return '' if parameter.default is parameter.empty else repr(parameter.default)


def _describe(name: str, *classes: type) -> str:
    for cls in classes:
        described = {entry.arg_name: entry.description for entry in docstring_parser.parse(cls.__doc__ or '').params}
        if described.get(name):
            return described[name]
    place = f'{classes[0].__module__}.{classes[0].__name__}'
    raise ValueError(f'{place}: the docstring does not describe {name!r} under Args')


def _rest(cls: type) -> str:
    """What the docstring says of `**kwargs`."""
    described = docstring_parser.parse(cls.__doc__ or '').params
    names = {p.name for p in inspect.signature(cls).parameters.values() if p.kind is p.VAR_KEYWORD}
    return ' '.join(entry.description or '' for entry in described if entry.arg_name.lstrip('*') in names)


def write_page(intro: str) -> str:
    """The page in Markdown.

    Args:
        intro: What stands before the classes.
    """
    parts = [intro, *_write_settings()]
    found = registered_classes()
    for registry in sorted(found, key=[*SECTIONS, *found].index):
        parts.append(f'\n## {SECTIONS.get(registry, registry)}\n')
        for scope, name, cls in found[registry]:
            parts += _write_class(registry, scope, name, cls)
    return '\n'.join(parts)


def _write_class(registry: str, scope: str, name: str, cls: type) -> Iterator[str]:
    docstring = docstring_parser.parse(cls.__doc__ or '')
    options = find_options(cls)
    yield f'\n### {name}\n'
    yield f"`type='{name}'` in the `{registry}` of {scope}: {{py:class}}`{cls.__module__}.{cls.__name__}`.\n"
    yield _markdown(docstring.short_description) + '\n'
    yield _markdown(docstring.long_description) + '\n'
    yield _table(options.own)
    rest = _markdown(_rest(cls))
    if options.inherited_from:
        yield f'{rest} All further options are those of `{options.inherited_from}`.\n'
    elif rest:
        yield f'Further options: {rest}\n'
    elif not options.own:
        yield 'No options.\n'


def _write_settings() -> Iterator[str]:
    yield '\n## `test_cfg`\n'
    yield _markdown(docstring_parser.parse(FusionSettings.__doc__).short_description) + '\n'
    yield _table(find_options(FusionSettings).own)


def _table(options: list[Option]) -> str:
    if not options:
        return ''
    rows = [
        f'| `{option.name}` | {f"`{option.default}`" if option.default else "must be given"} | '
        f'{_markdown(option.description).replace("|", chr(92) + "|")} |'
        for option in options
    ]
    return '\n'.join(['| option | default | |', '|---|---|---|', *rows, ''])


def _markdown(text: Any) -> str:
    """A docstring's text on one line per paragraph: roles and double backticks become code."""
    text = re.sub(r':\w+:`~?\.?([^`]+)`', r'`\1`', text or '').replace('``', '`')
    return '\n\n'.join(' '.join(paragraph.split()) for paragraph in text.split('\n\n'))
