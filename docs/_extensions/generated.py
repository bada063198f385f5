"""Pages that are written from the program when the site is built, so that they cannot go stale.

`config_reference` gets the options of the registered classes, `command_line` the help texts of the commands, and `api`
one page for each package with the docstrings of its modules.
"""

from __future__ import annotations

import argparse
import pkgutil
from collections.abc import Iterator
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


PAGES = {'config_reference': config_reference.write_page, 'command_line': write_command_line}


def packages() -> dict[str, list[str]]:
    """The modules of each package, with itself in front."""
    found: dict[str, list[str]] = {mmmaskdino.__name__: [mmmaskdino.__name__]}
    for module in pkgutil.walk_packages(mmmaskdino.__path__, f'{mmmaskdino.__name__}.'):
        if module.ispkg:
            found[module.name] = [module.name]
        elif not module.name.endswith('.__main__'):  # starts a program when it is imported
            found[module.name.rpartition('.')[0]].append(module.name)
    return found


def write_api(app: Sphinx) -> None:
    """Write the page of each package, unless it is there."""
    if not Path(app.srcdir, 'api.md').is_file():
        return
    folder = Path(app.srcdir, API_FOLDER)
    folder.mkdir(exist_ok=True)
    pages = {f'{package}.rst': '\n'.join(_api_page(modules)) for package, modules in packages().items()}
    for stale in {path.name for path in folder.iterdir()} - set(pages):
        (folder / stale).unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')


def _api_page(modules: list[str]) -> Iterator[str]:
    package, *others = modules
    yield f'{package}\n{"=" * len(package)}\n\n.. automodule:: {package}\n'
    for module in others:
        title = module.rpartition('.')[2].replace('_', '\\_')
        yield f'{title}\n{"-" * len(title)}\n\n.. automodule:: {module}\n'


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
