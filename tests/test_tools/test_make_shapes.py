import json

import pytest

TOOL = 'dataset_converters/make_shapes.py'


def test_writes_what_was_asked_for(run_tool, tmp_path, capsys):
    out = tmp_path / 'data'
    assert run_tool(TOOL, out, '--train', 3, '--val', 2, '--size', 32, '--seed', 7) == 0
    assert '3 training and 2 validation images' in capsys.readouterr().out
    assert len(list((out / 'train').iterdir())) == 3
    manifest = json.loads((out / 'manifest.json').read_text())
    assert (manifest['size'], manifest['seed']) == (32, 7)


@pytest.mark.parametrize('overwrite', [False, True])
def test_other_parameters(run_tool, tmp_path, overwrite):
    first = [tmp_path / 'data', '--train', 1, '--val', 1, '--size', 32]
    assert run_tool(TOOL, *first) == 0
    result = run_tool(TOOL, *first, '--seed', 1, *['--overwrite'] * overwrite)
    if overwrite:
        assert result == 0
    else:
        assert '--overwrite' in result
