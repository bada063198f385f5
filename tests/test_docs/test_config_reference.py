"""The config reference has every class and option that a config can name."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope='module')
def reference(project_root: Path) -> ModuleType:
    """The module that writes the page."""
    path = project_root / 'docs' / '_extensions' / 'config_reference.py'
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # NamedTuple looks its own module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def page(reference: ModuleType) -> str:
    return reference.write_page('# Config reference')


def registered_names(root: Path) -> set[str]:
    """Classes with a decorator `X.register_module(...)` in the source."""
    names = set()
    for path in (root / 'mmmaskdino').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any('register_module' in ast.unparse(d) for d in node.decorator_list):
                names.add(node.name)
    return names


def types_in(config: Path) -> set[str]:
    """Values of `type=` that a config file writes."""
    calls = (node for node in ast.walk(ast.parse(config.read_text())) if isinstance(node, ast.keyword))
    return {c.value.value.rpartition('.')[2] for c in calls if c.arg == 'type' and isinstance(c.value, ast.Constant)}


def test_every_registered_class_is_there(page: str, project_root: Path) -> None:
    names = registered_names(project_root)
    assert len(names) > 40
    assert {name for name in names if f'\n### {name}\n' not in page} == set()


def test_what_the_configs_use_is_there(page: str, project_root: Path) -> None:
    configs = list((project_root / 'configs').rglob('*.py'))
    used = set().union(*(types_in(path) for path in configs)) & registered_names(project_root)
    assert len(used) > 20 and all(f"`type='{name}'`" in page for name in used)


@pytest.mark.parametrize(
    'row',
    [
        '| `num_layers` | `9` | ',  # of the decoder
        "| `initial_boxes` | `'predicted'` | ",
        '| `num_things_classes` | must be given | ',
        '| `score_thr` | `0.0` | ',  # of test_cfg
        "| `on_fault` | `'error'` | ",  # a base class of the datasets takes it
        '| `max_in_a_row` | `20` | ',
        '| `merge_iou` | `0.6` | ',
    ],
)
def test_options_and_defaults(page: str, row: str) -> None:
    (line, *_) = [line for line in page.splitlines() if line.startswith(row)]
    assert len(line.split('|')[3]) > 5, 'no description'


def test_an_option_without_description_is_an_error(reference: ModuleType) -> None:
    class Described:
        """Has options.

        Args:
            first (int): The first one.
        """

        def __init__(self, first: int, second: int = 2) -> None: ...

    Described.__module__ = 'mmmaskdino.here'
    with pytest.raises(ValueError, match=r"mmmaskdino.here.Described: .* does not describe 'second'"):
        reference.find_options(Described)
    Described.__doc__ += '    second (int): The other one.\n'
    assert [option.default for option in reference.find_options(Described).own] == ['', '2']
