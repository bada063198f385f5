"""What surrounds the package: workflows, Dockerfiles, templates, the lock file, and what is written about versions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

from mmmaskdino import __version__

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
DOCKERFILES = sorted((ROOT / 'docker').glob('*Dockerfile'))
LOCK = ROOT / 'requirements' / 'quickstart-lock.txt'


def tool(name: str) -> str:
    """A program of requirements/tests.txt."""
    return str(Path(sys.executable).with_name(name))


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding='utf-8'))


def steps(path: Path) -> list[dict]:
    return [step for job in load(path)['jobs'].values() for step in job.get('steps', [])]


def missing_scripts(commands: str, root: Path = ROOT) -> list[str]:
    """Paths of scripts and tests that commands name and that are not there."""
    named = re.findall(r'(?<![\w/.-])(?:\.ci|tools|tests|docs|requirements)/[\w./-]+', commands)
    return [name for name in named if not (root / name.rstrip('.')).exists()]


def test_workflows_are_sound() -> None:
    done = subprocess.run([tool('zizmor'), '--offline', '-q', str(ROOT / '.github')], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_unsound_workflow_is_found(tmp_path: Path) -> None:
    path = tmp_path / '.github' / 'workflows' / 'w.yml'
    path.parent.mkdir(parents=True)
    path.write_text(WORKFLOWS[0].read_text() + '      - run: echo "${{ github.event.issue.title }}"\n')
    done = subprocess.run([tool('zizmor'), '--offline', '-q', str(path)], capture_output=True, text=True)
    assert done.returncode != 0 and 'template-injection' in done.stdout


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_what_is_there(path: Path) -> None:
    commands = '\n'.join(step.get('run', '') for step in steps(path))
    assert missing_scripts(commands) == []
    assert re.search(r'bash (\.ci|tools)/', commands), 'a workflow that calls no script writes something twice'
    for job in load(path)['jobs'].values():
        assert 'uses' in job or job['timeout-minutes'] <= 120
        if job.get('uses', '').startswith('./'):
            called = load(ROOT / job['uses'])
            assert 'workflow_call' in called[True]  # YAML takes `on` for a boolean


def test_a_missing_script_is_found() -> None:
    assert missing_scripts('bash tools/nothing.sh && bash .ci/run') == ['tools/nothing.sh']


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned(path: Path) -> None:
    """To a commit, whose version stands beside it, the same in all workflows."""
    used = re.findall(r'uses: ([\w./-]+@\S+)(.*)', path.read_text())
    assert len(used) >= 2
    for action, comment in used:
        assert re.fullmatch(r'[\w./-]+@[0-9a-f]{40}', action), action
        assert re.fullmatch(r' # v\d+\.\d+\.\d+', comment), action
    everywhere = {match for other in WORKFLOWS for match in re.findall(r'uses: ([\w./-]+)@(\S+)', other.read_text())}
    assert len({name for name, _ in everywhere}) == len(everywhere), 'two versions of one action'


def test_the_matrix_is_what_is_promised() -> None:
    matrix = load(ROOT / '.github' / 'workflows' / 'tests.yml')['jobs']['linux']['strategy']['matrix']['include']
    promised = set(re.findall(r'Python :: (3\.\d+)', (ROOT / 'setup.py').read_text()))
    found = {stack: {row['python'] for row in matrix if row['stack'] == stack} for stack in ('current', 'classic')}
    assert found['current'] == promised
    newest = re.search(r"classic\) .*newest_python='\(3, (\d+)\)'", (ROOT / 'tools' / 'setup_env.sh').read_text())[1]
    assert found['classic'] == {version for version in promised if int(version[2:]) <= int(newest)}


def test_dependabot_watches_what_is_there() -> None:
    watched = {
        update['package-ecosystem']: update['directory'] for update in load(ROOT / '.github/dependabot.yml')['updates']
    }
    assert set(watched) == {'github-actions', 'pip', 'docker'}
    assert all((ROOT / folder.strip('/')).is_dir() for folder in watched.values())


@pytest.mark.parametrize('path', DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles(path: Path) -> None:
    done = subprocess.run([tool('hadolint'), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert missing_scripts(path.read_text()) == []
    assert f'-f docker/{path.name}' in path.read_text(), 'how it is built'


def test_a_faulty_dockerfile_is_found(tmp_path: Path) -> None:
    (tmp_path / 'Dockerfile').write_text('FROM debian\nRUN cd /x && sudo make\n')
    done = subprocess.run([tool('hadolint'), str(tmp_path / 'Dockerfile')], capture_output=True, text=True)
    assert done.returncode == 1 and 'DL3004' in done.stdout


@pytest.mark.parametrize(
    'path', sorted((ROOT / '.github/ISSUE_TEMPLATE').glob('[0-9]*.yml')), ids=lambda path: path.stem
)
def test_issue_templates_ask_for_the_doctor(path: Path) -> None:
    form = load(path)
    assert {'name', 'description', 'body'} <= set(form)
    fields = [field for field in form['body'] if field['type'] != 'markdown']
    assert len({field['id'] for field in fields}) == len(fields) and all(
        field['attributes']['label'] for field in fields
    )
    assert any('mmmaskdino doctor' in field['attributes']['label'] for field in fields)
    assert missing_scripts(path.read_text()) == []


def test_the_pull_request_template_asks_for_the_doctor() -> None:
    text = (ROOT / '.github' / 'PULL_REQUEST_TEMPLATE.md').read_text()
    assert 'mmmaskdino doctor' in text and missing_scripts(text) == []


def test_citation() -> None:
    citation = load(ROOT / 'CITATION.cff')
    assert citation['version'] == __version__ and citation['license'] == 'Apache-2.0'
    (paper,) = citation['references']
    bibtex = (ROOT / 'README.md').read_text().replace('{DINO}', 'DINO')
    assert paper['title'] in bibtex and f'{paper["start"]}--{paper["end"]}' in bibtex
    assert [author['family-names'] for author in paper['authors']] == re.findall(
        r'(\w+), \w', re.search(r'author\s+= \{(.*)\}', bibtex)[1]
    )


def test_the_changelog_has_this_version_first() -> None:
    versions = re.findall(r'(?m)^## (.*)$', (ROOT / 'CHANGELOG.md').read_text())
    assert versions and re.fullmatch(rf'{re.escape(__version__)}, (\d{{4}}-\d\d-\d\d|not released yet)', versions[0])


@pytest.fixture
def release(tmp_path: Path):
    """Runs the build of a release in a copy without anything to build."""
    for name in ('.ci/build_release.sh', 'mmmaskdino/version.py', 'CHANGELOG.md'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def run(tag: str) -> subprocess.CompletedProcess:
        command = ['bash', str(tmp_path / '.ci' / 'build_release.sh'), tag, str(tmp_path / 'dist')]
        return subprocess.run(command, capture_output=True, text=True)

    return run


def test_a_release_needs_its_tag_and_its_date(release, tmp_path: Path) -> None:
    done = release('v99.0.0')
    assert done.returncode == 1 and f'the tag is v99.0.0, mmmaskdino/version.py says {__version__}' in done.stderr
    (tmp_path / 'CHANGELOG.md').write_text(f'## {__version__}, not released yet\n')
    done = release(f'v{__version__}')
    assert done.returncode == 1 and 'CHANGELOG.md has no' in done.stderr


def test_the_order_of_an_installation_with_pip(tmp_path: Path) -> None:
    """torch, then mmcv that sees it, then the package; with a Python that only says what it is asked for."""
    python = tmp_path / 'python'
    python.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/calls\n[ "$2" != venv ] || install -D "$0" "$3/bin/python"\n'
    )
    python.chmod(0o755)
    command = ['bash', str(ROOT / '.ci' / 'install_with_pip.sh'), str(tmp_path / 'new'), '.[current]']
    subprocess.run(command, check=True, env=os.environ | {'PYTHON': str(python)})
    made, *installed = (tmp_path / 'calls').read_text().splitlines()
    assert made == f'-m venv {tmp_path}/new'
    first, mmcv, package = (line.partition(' install ')[2] for line in installed)
    assert 'torch==' in first and 'torchvision==' in first and 'setuptools' in first and 'mmcv' not in first
    assert mmcv.startswith('--no-build-isolation onedl-mmcv==') and package == '--no-build-isolation .[current]'


def test_the_lock_file() -> None:
    """It has every requirement of the quick start, in a version that the ranges admit, for each Python."""
    text = LOCK.read_text()
    assert '://' not in text and '--' not in text, 'an index has no place in it'
    locked = [Requirement(line) for line in text.splitlines() if not line.startswith('#')]
    names = ('current.txt', 'runtime.txt')
    lines = [line for name in names for line in (ROOT / 'requirements' / name).read_text().splitlines()]
    wanted = [Requirement(line) for line in lines if not line.startswith('#')]
    assert len(locked) > 60 and len(wanted) > 10
    for version in ('3.10', '3.11', '3.12'):
        python = dict(python_version=version, python_full_version=f'{version}.4', sys_platform='linux')
        here = {x.name: x for x in locked if x.marker is None or Marker(str(x.marker)).evaluate(python)}
        for requirement in wanted:
            (pin,) = here[requirement.name].specifier
            assert pin.operator == '==' and requirement.specifier.contains(pin.version), f'{requirement} with {version}'


def test_types_of_the_public_interface() -> None:
    """The names that type checkers see in `mmmaskdino.apis` are those that are there."""
    from mmmaskdino import apis

    text = (ROOT / 'mmmaskdino' / 'apis' / '__init__.py').read_text()
    imported = re.search(r'if TYPE_CHECKING:\n(.*?)\n\n', text, re.DOTALL)[1]
    names = [name for line in re.findall(r'import (.*)', imported) for name in line.split(', ')]
    assert sorted(names) == sorted(apis.__all__) == sorted(apis._MODULE_OF)


def test_llms_txt_lists_every_page() -> None:
    text = (ROOT / 'llms.txt').read_text()
    links = re.findall(r'^- \[[^]]+\]\(([^)]+)\): .', text, re.MULTILINE)
    assert text.startswith('# mmmaskdino\n\n> ') and all((ROOT / link).is_file() for link in links)
    pages = {f'docs/{path.name}' for path in (ROOT / 'docs').glob('*.md')}
    # Pages that show a file of the repository, which is listed itself, and the table of contents.
    shown = {f'docs/{name}.md' for name in ('readme', 'model_zoo', 'contributing', 'changelog', 'security', 'index')}
    assert pages - shown <= set(links) and len(links) == len(set(links))


def test_the_glossary_is_sorted() -> None:
    terms = re.findall(r'(?m)^\| ([^|]+) \| [^|]+\|$', (ROOT / 'docs' / 'glossary.md').read_text())[1:]
    assert len(terms) > 30 and terms == sorted(terms, key=str.lower)
