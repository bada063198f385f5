"""Which checkpoint a run goes on from; going on is in tests/test_robustness."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmmaskdino.engine import find_resumable_checkpoint, is_complete


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a checkpoint of some 10 kB."""

    def _save(name: str) -> Path:
        torch.save({'state_dict': {'weight': torch.rand(50, 50)}}, tmp_path / name)
        return tmp_path / name

    return _save


@pytest.mark.parametrize('kept', [0.0, 0.5, 0.99])
def test_cut_off(save, kept: float) -> None:
    path = save('iter_1.pth')
    assert is_complete(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert not is_complete(path)


def test_pages_that_never_reached_the_disk(save) -> None:
    path = save('iter_1.pth')
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)
    assert not is_complete(path)


def test_neither_a_folder_nor_nothing_is_complete(tmp_path: Path) -> None:
    assert not is_complete(tmp_path) and not is_complete(tmp_path / 'missing.pth')


def test_a_first_run_has_none(tmp_path: Path) -> None:
    assert find_resumable_checkpoint(tmp_path) is None
    assert find_resumable_checkpoint(tmp_path / 'missing') is None


def test_the_one_that_was_written_last(save, tmp_path: Path) -> None:
    paths = [save(name) for name in ('iter_900.pth', 'iter_1000.pth', 'best_coco_bbox_mAP_iter_2000.pth', 'x.pth')]
    assert find_resumable_checkpoint(tmp_path) == str(paths[1])
    for text in ('', '\0\0\0', '/moved/away/iter_900.pth'):  # a power cut, a work dir that was moved
        (tmp_path / 'last_checkpoint').write_text(text)
        assert find_resumable_checkpoint(tmp_path) == str(paths[1])
    (tmp_path / 'last_checkpoint').write_text(f'{paths[0]}\n')
    assert find_resumable_checkpoint(tmp_path) == str(paths[0])


def test_a_damaged_one_is_left_for_an_older(save, tmp_path: Path) -> None:
    older, last = save('iter_1.pth'), save('iter_2.pth')
    (tmp_path / 'last_checkpoint').write_text(str(last))
    last.write_bytes(last.read_bytes()[:-1])
    assert find_resumable_checkpoint(tmp_path) == str(older)
    older.write_bytes(b'')
    with pytest.raises(ValueError, match=r'none of the checkpoints in .* is complete \(iter_2.pth, iter_1.pth\)'):
        find_resumable_checkpoint(tmp_path)


def test_checkpoints_in_another_folder(save, tmp_path: Path) -> None:
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    path = save('epoch_2.pth')
    (work_dir / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    assert find_resumable_checkpoint(work_dir) == str(path)
