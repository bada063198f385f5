"""The site is built without a warning, and a broken page is a warning."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings('ignore:.*MystReferenceResolver.app')  # of myst-parser with Sphinx 9

FLAGS = ['-W', '--keep-going', '-q', '-b', 'html']


@pytest.fixture(scope='module')
def site(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    out = tmp_path_factory.mktemp('site')
    command = [
        sys.executable,
        '-W',
        'ignore',
        '-m',
        'sphinx',
        *FLAGS,
        '-d',
        str(out / 'doctrees'),
        'docs',
        str(out / 'html'),
    ]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out / 'html'


def text_of(path: Path) -> str:
    return re.sub(r'<[^>]+>', '', path.read_text())


@pytest.mark.slow
def test_pages(site: Path, project_root: Path) -> None:
    for path in (project_root / 'docs').glob('*.md'):
        assert (site / f'{path.stem}.html').is_file()
    assert 'maskdino_r50_coco_instance_100-queries' in (site / 'model_zoo.html').read_text(), (
        'of configs/maskdino/README.md'
    )
    assert 'bash tools/quickstart.sh' in text_of(site / 'readme.html'), 'of README.md'
    assert '--val-share' in text_of(site / 'command_line.html')
    assert (
        'id="mmmaskdino.models.losses.criterion.MaskDINOCriterion"'
        in (site / '_api' / 'mmmaskdino.models.losses.html').read_text()
    )


@pytest.mark.slow
def test_the_api_has_what_is_public_and_nothing_else(site: Path) -> None:
    pages = ' '.join(path.read_text() for path in (site / '_api').glob('*.html'))
    for name in (
        'apis.inference.predictor.Predictor',
        'apis.launch.load_config',
        'apis.data.checking.check_split',
        'hub.resolve.find_config',
        'structures.StagePrediction',
        'visualization.trace.TraceRecorder',
        'models.task_modules.match_costs.PointDiceCost',
    ):
        assert f'id="mmmaskdino.{name}"' in pages, name
    for name in ('ops', 'cli', 'models.utils', 'engine.data_loading', 'apis.inference.reading.check_size'):
        assert f'mmmaskdino.{name}"' not in pages, name


@pytest.mark.slow
def test_tutorials_are_pages(site: Path) -> None:
    page = text_of(site / 'tutorials.html')
    assert 'From a folder of images to a trained model' in page and 'mmmaskdino data check data/shapes' in page
    assert 'to_supervision()' in page and '"cell_type"' not in page
    notebook = site / 'repository' / 'docs' / 'tutorials' / 'results.ipynb.html'
    assert notebook.is_file()
    assert (site / 'llms.txt').is_file()


@pytest.mark.slow
def test_links_between_references(site: Path) -> None:
    api = '_api/mmmaskdino.models.dense_heads.html#mmmaskdino.models.dense_heads.maskdino_head.MaskDINOHead'
    assert f'href="{api}"' in (site / 'config_reference.html').read_text()
    name = 'mmmaskdino.models.losses.html#mmmaskdino.models.losses.criterion.MaskDINOCriterion'
    assert f'href="{name}"' in (site / '_api' / 'mmmaskdino.models.dense_heads.html').read_text(), (
        'a name without module'
    )


@pytest.mark.slow
def test_links_to_files_of_the_repository(site: Path) -> None:
    page = (site / 'model_zoo.html').read_text()
    assert 'href="repository/configs/maskdino/maskdino_r50_coco_instance.py.html"' in page
    config = text_of(site / 'repository' / 'configs' / 'maskdino' / 'maskdino_r50_coco_instance.py.html')
    assert '../_base_/models/maskdino_r50.py' in config
    assert 'href="paper_vs_code.html"' in page, 'a link of configs/maskdino/README.md to a page'
    folder = (site / 'repository' / 'configs' / 'maskdino' / 'ablations.html').read_text()
    assert 'maskdino_r50_coco_instance_100-queries.py.html' in folder


@pytest.mark.slow
def test_nothing_is_fetched(site: Path) -> None:
    """Scripts, styles and pictures come with the pages."""
    for path in site.rglob('*.html'):
        assert not re.findall(r'<(?:script|img|link rel="stylesheet")[^>]+(?:src|href)="https?:', path.read_text()), (
            path
        )


PAGES = {
    'a link to no file': ('[x](nothing.md)', 'nothing.md'),
    'a link to no heading': ('[x](other.md#nowhere)', 'nowhere'),
    'a link to no heading of the README': ('[x](ROOT/README.md#nowhere)', 'nowhere'),
    'a link to no config': ('[x](ROOT/configs/nothing.py)', 'nothing.py'),
    'a picture that is missing': ('![x](nothing.png)', 'nothing.png'),
    'a page in no table of contents': ('', 'lonely.md'),
}


def build(project_root: Path, folder: Path, capsys: pytest.CaptureFixture) -> tuple[int, str]:
    """Build a few pages with the configuration of the site, in this process."""
    from sphinx.cmd.build import main

    status = main([*FLAGS, '-c', str(project_root / 'docs'), str(folder), str(folder / '_build')])
    return status, capsys.readouterr().err


@pytest.fixture
def folder(project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three good pages, one of which is the README."""
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    links = '[heading](other.md#a-heading) [README](ROOT/README.md#configs) [config](ROOT/configs/maskdino)'
    text = f'# Index\n\n```{{toctree}}\nother\nreadme\n```\n\n{links}\n'
    (tmp_path / 'index.md').write_text(text.replace('ROOT', os.path.relpath(project_root, tmp_path)))
    (tmp_path / 'other.md').write_text('# Other\n\n## A heading\n\nText.\n')
    (tmp_path / 'readme.md').write_text('# README\n')
    return tmp_path


def test_good_pages(project_root: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    status, warnings = build(project_root, folder, capsys)
    assert status == 0 and 'WARNING' not in warnings, warnings


@pytest.mark.parametrize('fault', PAGES)
def test_a_fault_is_found(project_root: Path, folder: Path, capsys: pytest.CaptureFixture, fault: str) -> None:
    text, expected = PAGES[fault]
    if text:
        page = folder / 'other.md'
        page.write_text(page.read_text() + text.replace('ROOT', os.path.relpath(project_root, folder)))
    else:
        (folder / 'lonely.md').write_text('# Lonely\n')
    status, warnings = build(project_root, folder, capsys)
    assert status != 0 and expected in warnings


def test_the_command_builds_as_the_test_does(project_root: Path) -> None:
    script = project_root / 'tools' / 'build_docs.sh'
    assert f'-m sphinx {" ".join(FLAGS)} docs' in script.read_text()
    assert shutil.which(str(script)), 'not executable'
