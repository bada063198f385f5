"""Pages that are written from the program when the site is built, so that they cannot go stale.

`config_reference` gets the options of the registered classes, `command_line` the help texts of the commands,
`tutorials` the cells of the notebooks, and `api` one page for each package with the docstrings of what is public in it.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import config_reference
from docutils import nodes
from mmengine.registry import Registry
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

import mmmaskdino
from mmmaskdino.cli.main import COMMANDS, build_parser

API_FOLDER = '_api'
WIDTH = 100  # of help texts, in characters


def write_command_line(intro: str) -> str:
    """The help text of every command.

    Args:
        intro: What stands before the commands.
    """
    parts = [intro]
    for name in COMMANDS:
        parser = build_parser(name, f'mmmaskdino {name}')
        parts += _describe_parser(parser, 2)
        actions = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parts += [
            text for action in actions for child in action.choices.values() for text in _describe_parser(child, 3)
        ]
    return '\n'.join(parts)


def _describe_parser(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    parser.formatter_class = partial(parser.formatter_class, width=WIDTH)
    yield f'\n{"#" * level} {parser.prog.removeprefix("mmmaskdino ")}\n\n```text\n{parser.format_help()}```\n'


def write_tutorials(intro: str) -> str:
    """Text and code of the notebooks, in the order of the links to them; their headings one level lower.

    Args:
        intro: What stands before them, with the links.
    """
    parts = [intro]
    for name in re.findall(r'\]\((tutorials/\w+\.ipynb)\)', intro):
        for cell in json.loads((DOCS / name).read_text(encoding='utf-8'))['cells']:
            text = ''.join(cell['source'])
            if cell['cell_type'] == 'code':
                language = 'text' if re.search(r'(?m)^[!%]', text) else 'python'
                parts.append(f'```{language}\n{text}\n```')
            else:
                text = re.sub(r'\]\((\w+\.ipynb)\)', r'](tutorials/\1)', text)
                parts.append(re.sub(r'(?m)^#', '##', text))
    return '\n\n'.join(parts) + '\n'


DOCS = Path(__file__).resolve().parents[1]
PAGES = {
    'config_reference': config_reference.write_page,
    'command_line': write_command_line,
    'tutorials': write_tutorials,
}
# Whose `__all__`, or whose own classes and functions if they have none, are public beside what is registered.
PUBLIC = ('apis', 'apis.data', 'converters', 'datasets', 'evaluation', 'structures', 'visualization', 'hub')
TRACED = ('visualization.explanation', 'visualization.trace')


def public_objects() -> dict[str, list[type | Callable]]:
    """What is public, in the order of the names, by the package that it lies in."""
    found: dict[str, type | Callable] = {}
    for name in (*PUBLIC, *TRACED):
        module = importlib.import_module(f'{mmmaskdino.__name__}.{name}')
        own = [key for key, value in vars(module).items() if getattr(value, '__module__', '') == module.__name__]
        for key in getattr(module, '__all__', [key for key in own if not key.startswith('_')]):
            value = getattr(module, key)
            if inspect.isclass(value) or inspect.isfunction(value):
                found[f'{value.__module__}.{value.__qualname__}'] = value
    for classes in config_reference.registered_classes().values():
        found |= {f'{cls.__module__}.{cls.__qualname__}': cls for _, _, cls in classes}
    packages: dict[str, list[type | Callable]] = {}
    for name in sorted(found):
        packages.setdefault(_package_of(found[name].__module__), []).append(found[name])
    return packages


def _package_of(module: str) -> str:
    is_package = hasattr(importlib.import_module(module), '__path__')
    return module if is_package else module.rpartition('.')[0]


def write_api(app: Sphinx) -> None:
    """Write the page of each package, unless it is there."""
    if not Path(app.srcdir, 'api.md').is_file():
        return
    folder = Path(app.srcdir, API_FOLDER)
    folder.mkdir(exist_ok=True)
    pages = {f'{package}.rst': '\n'.join(_api_page(package, found)) for package, found in public_objects().items()}
    for stale in {path.name for path in folder.iterdir()} - set(pages):
        (folder / stale).unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')


def _api_page(package: str, objects: list[type | Callable]) -> Iterator[str]:
    yield f'{package}\n{"=" * len(package)}\n\n.. automodule:: {package}\n   :no-members:\n'
    for value in objects:
        title = value.__qualname__.replace('_', '\\_')
        kind = 'autoclass' if inspect.isclass(value) else 'autofunction'
        yield f'{title}\n{"-" * len(title)}\n\n.. {kind}:: {value.__module__}.{value.__qualname__}\n'


def write_generated(app: Sphinx, docname: str, source: list[str]) -> None:
    """Append to a page what is generated."""
    if docname in PAGES:
        source[0] = PAGES[docname](source[0])


def quote_examples(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep the lines of commands and tables in a module's docstring, which is also a help text, as they are."""
    if what != 'module':
        return
    quoted: list[str] = []
    for before, line in zip(['', *lines], lines, strict=False):
        if line.startswith('  ') and not before.startswith('  '):
            quoted += ['', '.. code-block:: text', '']
        elif before.startswith('  ') and not line.startswith('  '):
            quoted.append('')
        quoted.append(line)
    lines[:] = [*quoted, '']


def link_short_name(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Node
) -> nodes.Node | None:
    """Link a name without its module, as docstrings and types have it, if one thing of the package has this name."""
    if node.get('refdomain') != 'py':
        return None
    objects = env.domaindata['py']['objects']
    found = [name for name in objects if name.endswith(f'.{node["reftarget"]}')]
    if len(found) != 1:
        return None
    target = objects[found[0]]
    return make_refnode(app.builder, node['refdoc'], target.docname, target.node_id, text, found[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    Registry.__repr__ = object.__repr__  # autodoc asks for it, and a registry draws a table of its hundreds of classes
    app.connect('builder-inited', write_api)
    app.connect('source-read', write_generated)
    app.connect('autodoc-process-docstring', quote_examples)
    app.connect('missing-reference', link_short_name)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
