import sys
from importlib import metadata
from pathlib import Path

import pytest

from ovseg import extras
from ovseg.program import ERRORS


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """Pip beside Python and first on the PATH."""
    (tmp_path / 'bin').mkdir()
    for name in ('pip', 'python'):
        (tmp_path / 'bin' / name).write_text('')
        (tmp_path / 'bin' / name).chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
    monkeypatch.setattr(sys, 'executable', str(tmp_path / 'bin' / 'python'))


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / 'ovseg').mkdir()
    monkeypatch.setattr(extras, 'PACKAGE', tmp_path / 'ovseg')
    return tmp_path


@pytest.mark.usefixtures('pip')
def test_a_checkout_is_installed_with_the_extra(package, monkeypatch):
    (package / 'setup.py').write_text('')
    assert extras.install_command('web') == f'pip install -e "{package}[web]"'
    monkeypatch.chdir(package)
    assert extras.install_command('web') == 'pip install -e ".[web]"'


@pytest.mark.usefixtures('pip', 'package')
@pytest.mark.parametrize('lines, command', [
    (['torch>=2.1', 'gradio>=6; python_version >= "3.9" and extra == "web"', 'scipy; extra == "converters"'],
     'pip install "gradio>=6"'),
    (['scikit-image>=0.21; extra == "web"', 'transformers; extra == "web"'], 'pip install "scikit-image>=0.21" "transformers"'),
    (['gradio; python_version < "3.9" and extra == "web"'], 'there is none for Python ')])
def test_beside_a_wheel_the_packages_are_named(lines, command, monkeypatch):
    monkeypatch.setattr(metadata, 'requires', lambda name: lines)
    assert extras.install_command('web').startswith(command)


@pytest.mark.usefixtures('package')
def test_pip_is_that_of_this_python(monkeypatch):
    monkeypatch.setattr(metadata, 'requires', lambda name: ['gradio; extra == "web"'])
    monkeypatch.setenv('PATH', str(Path('/')))
    assert extras.install_command('web') == f'"{sys.executable}" -m pip install "gradio"'


def test_the_error_is_a_line_of_every_program():
    error = extras.missing_package('the web page', 'gradio', 'web')
    assert isinstance(error, ERRORS) and isinstance(error, ImportError)
    assert str(error) == f'the web page needs gradio: {extras.install_command("web")}'


def test_a_package_of_an_extra_is_imported():
    assert extras.needed('json', 'web', 'never said') is sys.modules['json']


def test_a_package_of_an_extra_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    with pytest.raises(extras.MissingPackageError, match=r'a\.heic, a HEIC image, needs pillow-heif: .* install .*heif'):
        extras.needed('pillow_heif', 'heif', 'a.heic, a HEIC image,')
