"""What is written about the configs: their README, metafile.yml, tables.yml and model-index.yml."""

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs' / 'maskdino'
README = (CONFIGS / 'README.md').read_text()
MODELS = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())['Models']
TABLES = yaml.safe_load((CONFIGS / 'tables.yml').read_text())
FILES = {path.stem: path for path in CONFIGS.rglob('*.py')}


@pytest.fixture(scope='module')
def published():
    """{config: {metric: number}}, and no number twice with another value."""
    numbers = {}
    for table in TABLES.values():
        for row in table['rows']:
            assert len(row['published']) == len(table['metrics'])
            for metric, value in zip(table['metrics'], row['published'], strict=True):
                if value is not None:
                    assert numbers.setdefault(row['config'], {}).setdefault(metric, value) == value
    return numbers


def test_names_are_unique_and_leaves_are_short():
    paths = [*CONFIGS.rglob('*.py')]
    assert len(FILES) == len(paths)
    lines = {path: len(path.read_text().splitlines()) for path in paths}
    assert {path.name: count for path, count in lines.items() if count > 25} == {}


def test_readme_names_every_config_and_no_other():
    linked = set(re.findall(r'\]\(([^)#]+\.py)\)', README))
    assert linked == {str(path.relative_to(CONFIGS)) for path in FILES.values()}


def test_rows_of_tables_are_configs():
    assert {row['config'] for table in TABLES.values() for row in table['rows']} <= set(FILES)


@pytest.mark.parametrize('model', MODELS, ids=lambda model: model['Name'])
def test_metafile_entry(model, published):
    path = ROOT / model['Config']
    assert path == FILES[model['Name']]
    results = {}
    for result in model['Results']:
        results |= result['Metrics']
    assert results == published[model['Name']]
    if 'Iterations' in model['Metadata']:
        assert Config.fromfile(path).train_cfg.max_iters == model['Metadata']['Iterations']
    else:
        assert Config.fromfile(path).train_cfg.max_iters == 7375 * model['Metadata']['Epochs']


def test_metafile_has_every_published_config(published):
    assert {model['Name'] for model in MODELS} == set(published)


def test_model_index_has_the_metafile():
    assert yaml.safe_load((ROOT / 'model-index.yml').read_text()) == dict(Import=['configs/maskdino/metafile.yml'])


def numbers_of_rows():
    """(config, numbers) of each row of the README's tables."""
    for line in README.splitlines():
        match = re.match(r'\| \[[^]]+\]\((?:\w+/)?(\w[^)]*)\.py\) ', line)
        if match:
            yield match[1], [float(number) for number in re.findall(r'\| (\d+\.\d) ', line)]


@pytest.mark.parametrize(('name', 'numbers'), list(numbers_of_rows()))
def test_numbers_of_the_readme_are_published(name, numbers, published):
    assert sorted(numbers) == sorted(published.get(name, {}).values())
