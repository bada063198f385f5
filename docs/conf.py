"""Configuration of the documentation site; `bash tools/build_docs.sh` builds it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'docs' / '_extensions')]

from mmmaskdino.version import __version__  # noqa: E402

project = 'mmmaskdino'
author = 'The mmmaskdino authors'
copyright = author  # noqa: A001
version = release = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx_copybutton',
    'repository',
    'generated',
]
exclude_patterns = ['_build', '_extensions', 'tutorials']
# Everything that the pages need comes with them: the site works without a network.
html_theme = 'furo'
html_title = f'mmmaskdino {release}'
html_copy_source = False
html_static_path = ['_static']
html_css_files = ['site.css']
html_extra_path = ['../llms.txt']

# Headings have the anchors that GitHub gives them, so links work in both places.
myst_heading_anchors = 4

# Pages that are files of the repository, with the folder that their links start from.
repository_pages = {
    'readme': 'README.md',
    'model_zoo': 'configs/maskdino/README.md',
    'contributing': 'CONTRIBUTING.md',
    'changelog': 'CHANGELOG.md',
    'security': 'SECURITY.md',
}

autodoc_member_order = 'bysource'
autodoc_mock_imports = ['gradio']  # slow to import, and a class of it is never shown
toc_object_entries = False  # modules are enough of a table of contents
autodoc_default_options = {'members': True, 'show-inheritance': True, 'ignore-module-all': True}
autodoc_inherit_docstrings = False
autodoc_typehints = 'signature'
napoleon_use_rtype = False
napoleon_use_ivar = True
default_role = 'code'
# Two classes may have the same name; a type in a docstring leads to one of them.
suppress_warnings = ['ref.python']
