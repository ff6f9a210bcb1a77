"""The command ``ovseg convert sets``, beside its function: its folders."""
import numpy as np
import pytest
from PIL import Image

TOOL = 'dataset_converters/sets.py'


@pytest.fixture
def archive(tmp_path):
    """WHU Aerial's folder with one image."""
    for folder, pixels in (('image', np.zeros((53, 71, 3), np.uint8)), ('label', np.eye(53, 71, dtype=np.uint8) * 255)):
        path = tmp_path / 'WHU-BD' / 'val' / folder / '2_11.png'
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / 'WHU-BD'


def test_without_a_folder_it_writes_beside_the_files(archive, in_process):
    assert '1 images converted, 0 were there' in in_process(TOOL, 'whu_aerial', archive)
    np.testing.assert_array_equal(np.array(Image.open(archive / 'val/label_cvt/2_11.png')), np.eye(53, 71))
    assert '0 images converted, 1 were there' in in_process(TOOL, 'whu_aerial', archive, archive)


def test_it_writes_into_another_folder(archive, in_process, tmp_path):
    assert '1 images converted, 0 were there' in in_process(TOOL, 'whu_aerial', archive, tmp_path / 'out')
    assert (tmp_path / 'out/val/label_cvt/2_11.png').is_file() and not (archive / 'val/label_cvt').exists()


@pytest.mark.parametrize(('folders', 'name'), [(['', 'out'], 'SRC'), (['.', ''], 'DST'), ([''], 'SRC')])
def test_an_empty_path_is_refused(folders, name, in_process, tmp_path, monkeypatch, capfd):
    """As that of an unset variable is, which would be the current folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        in_process(TOOL, 'whu_aerial', *folders)
    assert f'argument {name}: the path is empty' in capfd.readouterr().err and not list(tmp_path.iterdir())
