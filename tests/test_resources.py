import pytest

import ovseg.resources
from ovseg.resources import configs_dir


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / 'somewhere' / 'ovseg'
    folder.mkdir(parents=True)
    monkeypatch.setattr(ovseg.resources, 'PACKAGE', folder)
    return folder


def test_configs_of_this_checkout():
    assert (configs_dir() / 'demo' / 'gated_tiny-clip_demo.py').is_file()


def test_configs_beside_the_package(package):
    (package.parent / 'configs').mkdir()
    assert configs_dir() == package.parent / 'configs'


def test_an_installed_package_does_not_take_another_one_s_configs(package):
    (package.parent / 'configs').mkdir()
    (package / '.mim' / 'configs').mkdir(parents=True)
    assert configs_dir() == package / '.mim' / 'configs'


def test_no_configs(package):
    (package.parent / 'configs').write_text('a file')
    with pytest.raises(FileNotFoundError, match=r'ovseg has no configs.*\.mim.configs.*somewhere.configs'):
        configs_dir()
