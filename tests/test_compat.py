import importlib
import importlib.util
import re
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from ovseg import compat
from ovseg.compat import check_dependencies, check_version, mmcv_operators

ROOT = Path(__file__).parents[1]
EXTENSION = 'mmcv._ext'


@pytest.mark.parametrize('found', ['2.0.0', '2.1.0', '2.1.99', '2.0.0+cu121'])
def test_versions_inside_the_range_pass(found):
    check_version('mmcv', found, '2.0.0', '2.2.0', 'pip install x')


@pytest.mark.parametrize('found', ['1.7.2', '2.2.0', '2.0.0rc4', '2.10.0', '3.0'])
def test_versions_outside_the_range_are_refused_with_range_and_remedy(found):
    with pytest.raises(ImportError) as error:
        check_version('mmcv', found, '2.0.0', '2.2.0', 'pip install "mmcv-lite==2.1.0"')
    for part in (f'mmcv {found} is installed', '>= 2.0.0', '< 2.2.0', 'pip install "mmcv-lite==2.1.0"'):
        assert part in str(error.value)


def test_what_is_installed_here_passes():
    check_dependencies()


@pytest.mark.parametrize(('module', 'found', 'remedy'), [
    ('mmengine', '0.10.3', 'mmengine=='), ('mmengine', '0.12.0', 'mmengine=='),
    ('mmcv', '2.0.0', 'mmcv-lite=='), ('mmcv', '2.2.0', 'mmcv-lite=='),
    ('mmseg', '1.2.0', 'mmsegmentation=='), ('mmseg', '1.5.0', 'mmsegmentation==')])
def test_an_unfit_module_is_refused(monkeypatch, module, found, remedy):
    monkeypatch.setattr(sys.modules[module], '__version__', found)
    with pytest.raises(ImportError, match=rf'{module} {re.escape(found)} .*pip install "{remedy}'):
        check_dependencies()


@pytest.mark.parametrize(('module', 'found'), [('mmengine', '0.10.12'), ('mmseg', '1.4.2')])
def test_the_versions_of_the_maintained_family_pass(monkeypatch, module, found):
    monkeypatch.setattr(sys.modules[module], '__version__', found)
    check_dependencies()


def test_no_distribution_is_asked_for(monkeypatch):
    """The maintained family has the same modules in distributions of other names."""
    monkeypatch.setattr('importlib.metadata.distribution', lambda name: pytest.fail(f'asked for {name}'))
    check_dependencies()


@pytest.mark.parametrize(('module', 'remedy'), [
    ('mmengine', 'mmengine=='), ('mmcv', 'mmcv-lite=='), ('mmseg', 'mmsegmentation==')])
def test_a_missing_module_is_named(monkeypatch, module, remedy):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module} is not installed: pip install "{remedy}'):
        check_dependencies()


def test_the_ranges_are_those_that_are_installed(monkeypatch):
    """From the lower bound in requirements.txt to the upper bound there or, where it is higher, in `make test-onedl`."""
    ranges = {}
    monkeypatch.setattr(compat, 'check_version', lambda module, _, *rest: ranges.update({module: rest[:2]}))
    check_dependencies()
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    onedl = dict(re.findall(r"'onedl-(\w+)>=[\d.]+,<([\d.]+)'", (ROOT / 'Makefile').read_text()))
    assert f'mmcv-lite>={ranges["mmcv"][0]},<{ranges["mmcv"][1]}' in lines
    assert f'mmengine>={ranges["mmengine"][0]},<{onedl["mmengine"]}' in lines
    assert f'mmsegmentation>={ranges["mmseg"][0]},<1.3' in lines
    assert (ranges['mmengine'][1], ranges['mmseg'][1]) == (onedl['mmengine'], onedl['mmsegmentation'])
    assert len(ranges) == 3


@pytest.fixture
def no_extension(monkeypatch):
    """mmcv-lite, also where full mmcv is installed."""
    monkeypatch.delitem(sys.modules, EXTENSION, raising=False)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)


def test_the_stand_in_exists_only_inside(no_extension):
    with mmcv_operators():
        assert importlib.import_module(EXTENSION) is sys.modules[EXTENSION]
    assert EXTENSION not in sys.modules


def test_the_stand_in_goes_away_after_an_error(no_extension):
    with pytest.raises(KeyError, match='from inside'), mmcv_operators():
        raise KeyError('from inside')
    assert EXTENSION not in sys.modules


@pytest.mark.parametrize('arguments', [(), (1, 2)])
def test_its_operators_name_themselves_and_the_remedy(no_extension, arguments):
    with mmcv_operators():
        operator = sys.modules[EXTENSION].roi_align_forward
    with pytest.raises(RuntimeError, match=r"'roi_align_forward'.*pip uninstall mmcv-lite; pip install .*mmcv>="):
        operator(*arguments)


def test_the_stand_in_has_no_special_attributes(no_extension):
    with mmcv_operators(), pytest.raises(AttributeError):
        sys.modules[EXTENSION].__wrapped__  # noqa: B018


def test_a_real_extension_is_left_alone(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: ModuleSpec(name, None))
    before = sys.modules.get(EXTENSION)
    with mmcv_operators():
        assert sys.modules.get(EXTENSION) is before
    assert sys.modules.get(EXTENSION) is before


@pytest.mark.skipif(importlib.util.find_spec(EXTENSION) is not None, reason='full mmcv is installed')
def test_an_operator_of_mmcv_lite_names_itself():
    from mmcv.ops import nms
    with pytest.raises(RuntimeError, match=r"operator 'nms' was called"):
        nms(torch.tensor([[0., 0., 5., 7.]]), torch.tensor([0.5]), 0.3)


FRESH = """
import importlib.util
full = importlib.util.find_spec('mmcv._ext') is not None
import ovseg
import sys
from mmengine.utils.dl_utils.misc import mmcv_full_available
from mmseg.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
assert mmcv_full_available() is full
assert ('mmcv._ext' in sys.modules) <= full
for registry, name in ((MODELS, 'CLIPSegmentor'), (MODELS, 'CLIPSegTTAModel'), (MODELS, 'OVSegDataPreProcessor'),
                       (DATASETS, 'DemoScenesDataset'), (HOOKS, 'VocabularyCheckHook'), (TRANSFORMS, 'LoadImage')):
    assert registry.module_dict[name].__module__.startswith('ovseg.'), name
print('registered')
"""


def test_importing_ovseg_in_a_fresh_interpreter_registers_everything():
    run = subprocess.run([sys.executable, '-W', 'ignore', '-c', FRESH], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == 'registered'
