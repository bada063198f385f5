"""Pages and links of the site that are files of the repository.

A page in `repository_pages` has the text of a file outside of the documentation, such as the README. A link to a file
or folder outside leads to that page, or else to a page with the file's text, so that no link needs a network. A link
to nothing is a warning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[2]
PREFIX = 'repository/'  # of the pages of files


class RepositoryLinks(SphinxTransform):
    """Points links to the page of a file."""

    default_priority = 5  # before downloads are collected

    def apply(self, **kwargs: Any) -> None:
        """Change the links and images of one page."""
        page = self.config.repository_pages.get(self.env.docname)
        self.folder = (ROOT / page if page else Path(self.env.doc2path(self.env.docname))).parent
        for node in self.document.findall(nodes.image):
            if page and '://' not in node['uri']:
                node['uri'] = os.path.relpath(self.folder / node['uri'], self.env.srcdir)
        links = (*self.document.findall(addnodes.download_reference), *self.document.findall(addnodes.pending_xref))
        for node in links:
            if node.get('reftype') == 'myst' and not node['reftarget'].startswith('#'):
                self._point(node)

    def _point(self, node: addnodes.pending_xref | addnodes.download_reference) -> None:
        target, _, anchor = node['reftarget'].partition('#')
        if node.get('refdomain') == 'doc':  # MyST has found the file and taken its suffix
            if target in self.env.found_docs:
                return
            target, anchor = f'{target}.md', node['reftargetid']
        path = Path(os.path.normpath(self.folder / unquote(target)))
        if not path.exists() or not path.is_relative_to(ROOT):
            return  # MyST warns of it
        pages = {ROOT / file: name for name, file in self.config.repository_pages.items()}
        docname = pages.get(path) or (path.is_relative_to(self.env.srcdir) and self.env.path2doc(str(path)))
        options = dict(refdoc=self.env.docname, refexplicit=True)
        if docname in self.env.found_docs:
            options |= dict(reftype='myst', refdomain='doc', reftarget=docname, reftargetid=anchor or None)
        else:
            name = path.relative_to(ROOT).as_posix()
            linked_files(self.env).setdefault(self.env.docname, set()).add(name)
            options |= dict(reftype='repository', refdomain=None, reftarget=name)
        node.replace_self(addnodes.pending_xref('', *node.children, **options))


def linked_files(env: BuildEnvironment) -> dict[str, set[str]]:
    """Paths, relative to the root, of the files and folders that each page links to."""
    if not hasattr(env, 'repository_files'):
        env.repository_files = {}
    return env.repository_files


def read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give a page of `repository_pages` the text of its file."""
    file = app.config.repository_pages.get(docname)
    if file:
        app.env.note_dependency(str(ROOT / file))
        source[0] = (ROOT / file).read_text(encoding='utf-8')


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Node) -> nodes.Node | None:
    """Link to the page of a file."""
    if node['reftype'] != 'repository':
        return None
    uri = app.builder.get_relative_uri(node['refdoc'], PREFIX + node['reftarget'])
    return nodes.reference('', '', *node.children, refuri=uri, internal=True)


def file_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, str], str]]:
    """Name, content and template of the page of each linked file, and of the files of each linked folder."""
    paths = {ROOT / name for names in linked_files(app.env).values() for name in names}
    paths |= {child for path in paths if path.is_dir() for child in path.iterdir() if child.is_file()}
    for path in sorted(paths):
        name = path.relative_to(ROOT).as_posix()
        body = _list_folder(app, path, name) if path.is_dir() else _show_file(app, path)
        yield PREFIX + name, dict(title=name, body=f'<h1>{name}</h1>{body}'), 'page.html'


def _show_file(app: Sphinx, path: Path) -> str:
    try:
        language = get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        language = 'text'
    return app.builder.highlighter.highlight_block(path.read_text(encoding='utf-8'), language)


def _list_folder(app: Sphinx, folder: Path, name: str) -> str:
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    uris = [app.builder.get_relative_uri(PREFIX + name, f'{PREFIX}{name}/{file}') for file in files]
    items = [f'<li><a href="{uri}">{file}</a></li>' for uri, file in zip(uris, files, strict=True)]
    return f'<ul>{"".join(items)}</ul>'


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Forget the links of a page that is read again."""
    linked_files(env).pop(docname, None)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_config_value('repository_pages', {}, 'env')
    app.add_transform(RepositoryLinks)
    app.connect('source-read', read_page)
    app.connect('env-purge-doc', forget)
    app.connect('missing-reference', resolve)
    app.connect('html-collect-pages', file_pages)
    return dict(parallel_read_safe=False, parallel_write_safe=True)
