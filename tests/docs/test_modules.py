"""Defaults, files and chains that the page "post-processors" (modules.md) names; its commands are run in test_every_page.py."""
import ast
import inspect
import re
import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

import ovseg
from ovseg.config import read_config
from ovseg.models import CLIPSegmentor
from ovseg.models.post_processors import CTD, OutlierSuppression, SelfAttnEnhancement
from ovseg.models.post_processors.outlier_detectors import DETECTORS

read, inline = map(runpy.run_path(str(Path(__file__).parent / 'pages.py')).get, ('read', 'inline'))
PAGE, CODE = read('docs/modules.md'), inline('docs/modules.md')


def build(post_processors):
    return CLIPSegmentor(dict(name='ovseg-tiny-clip', pretrained=None), dict(names=['thing', 'stuff']),
                         post_processors=post_processors).post_processors.modules


def test_files_of_the_table_exist():
    files = re.findall(r'^\|.*\| `([\w/]+\.py)` \|$', PAGE, flags=re.MULTILINE)
    assert len(files) == 5
    assert [file for file in files if not (Path(ovseg.__file__).parent / 'models' / file).is_file()] == []


@pytest.mark.parametrize('module, heading', [(SelfAttnEnhancement, 'Self-attention enhancement'),
                                             (OutlierSuppression, 'Outlier suppression'), (CTD, 'CTD: cluster, then debias')])
def test_defaults_are_those_of_the_modules(module, heading):
    section = re.search(rf'^## {heading}\n(.*?)^## ', PAGE, flags=re.MULTILINE | re.DOTALL)[1]
    sentence = re.search(r'The defaults are\s(.*?)\.(?:\s|$)', section, flags=re.DOTALL)[1]
    defaults = {name: parameter.default for name, parameter in inspect.signature(module).parameters.items()}
    named = dict(re.findall(r'`(\w+)=([^`]+)`', sentence))
    assert named and {name: ast.literal_eval(value) for name, value in named.items()}.items() <= defaults.items()


def test_detectors_are_those_of_the_table():
    assert set(re.findall(r'^\| `(\w+)` \|', PAGE, flags=re.MULTILINE)) == set(DETECTORS)


def test_the_chain_of_the_page_and_the_option_that_reaches_into_it(tmp_path):
    chain, = (code for code in CODE if code.startswith('model = dict(post_processors='))
    option, = (code for code in CODE if code.startswith('--cfg-options model.post_processors.0'))
    (tmp_path / 'config.py').write_text(chain.replace(', ...', ''))
    module, = build(**Config.fromfile(tmp_path / 'config.py').model)
    assert (type(module), module.eps) == (CTD, 0.9)
    key, value = option.split()[1].split('=')
    module, = build(**read_config(tmp_path / 'config.py', {key: float(value)}).model)
    assert (type(module), module.eps) == (CTD, 0.8)
