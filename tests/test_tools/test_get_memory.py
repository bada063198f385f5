"""tools/analysis_tools/get_memory.py, and what get_flops.py shares with it."""

import pytest


@pytest.mark.parametrize('tool', ['get_memory.py', 'get_flops.py'])
@pytest.mark.parametrize('shape', [('0', '0'), ('64', '-1'), ('64', '1.5')])
def test_an_image_without_a_pixel(run_tool, capsys, tool, shape):
    assert run_tool(f'analysis_tools/{tool}', 'maskdino_r18_shapes_instance', '--shape', *shape) == 2
    assert f'expected a whole number of pixels of at least 1, got {shape[1]}' in capsys.readouterr().err
