import os
import socket
import ssl
import subprocess
import sys
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
from huggingface_hub import constants, hf_hub_download

import ovseg
from ovseg.models import hub
from ovseg.models.guides import TimmGuide
from ovseg.models.towers.loading import load_clip, weights_digest

NOWHERE = 'http://127.0.0.1:9'  # nothing listens at the port "discard"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, 'ENDPOINT', NOWHERE)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    for variable in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def connections(monkeypatch):
    """The addresses to which connections are tried: six attempts for each file took up to a minute."""
    tried, connect = [], socket.socket.connect

    def counted(self, address):
        tried.append(address)
        return connect(self, address)
    monkeypatch.setattr(socket.socket, 'connect', counted)
    return tried


def test_the_reason_is_given(monkeypatch):
    assert hub.unreachable().startswith(f'{NOWHERE} cannot be reached: ')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(hub, 'urlopen', None)  # nothing is sent
    assert hub.unreachable() == 'HF_HUB_OFFLINE is set, so nothing is downloaded'


def test_a_hub_that_answers_is_asked(monkeypatch):
    monkeypatch.setattr(hub, 'unreachable', lambda: '')
    with pytest.raises(OSError, match='theirs'), hub.cache_if_unreachable():
        assert not constants.HF_HUB_OFFLINE
        raise OSError('theirs')


@pytest.mark.parametrize('error', [HTTPError(NOWHERE, 405, 'Method Not Allowed', Message(), None),
                                   URLError(ssl.SSLCertVerificationError('unknown authority'))], ids=str)
def test_a_hub_that_refuses_the_question_or_has_an_unknown_certificate_is_reachable(monkeypatch, error):
    def urlopen(*args, **kwargs):
        raise error
    monkeypatch.setattr(hub, 'urlopen', urlopen)
    assert hub.unreachable() == ''


def missing():
    hf_hub_download('owner/name', 'a.txt')


def missing_for_transformers():
    try:
        missing()
    except OSError as error:
        raise OSError('theirs') from error


def missing_for_open_clip():
    try:
        missing()
    except OSError:
        raise FileNotFoundError('theirs')  # noqa: B904  as open_clip does


@pytest.mark.parametrize('load', [missing, missing_for_transformers, missing_for_open_clip])
def test_the_reason_replaces_the_error_of_a_file_that_is_not_in_the_cache(load):
    with pytest.raises(FileNotFoundError, match=r'^http.* cannot be reached: ') as caught, hub.cache_if_unreachable():
        assert constants.HF_HUB_OFFLINE
        load()
    assert isinstance(caught.value.__cause__, OSError) and not constants.HF_HUB_OFFLINE


@pytest.mark.parametrize('error', [OSError('theirs'), ValueError('theirs'), RuntimeError('theirs')], ids=repr)
def test_errors_of_other_kinds_are_theirs(error):
    with pytest.raises(type(error), match=r'^theirs$'), hub.cache_if_unreachable():
        raise error
    assert not constants.HF_HUB_OFFLINE


def cached(repository, folder, **contents):
    """Files of a repository in the cache in ``folder``."""
    snapshot = folder / f'models--{repository.replace("/", "--")}' / 'snapshots' / ('0' * 40)
    snapshot.mkdir(parents=True)
    for name, content in contents.items():
        (snapshot / name.replace('_json', '.json')).write_text(content)
    (snapshot.parents[1] / 'refs').mkdir()
    (snapshot.parents[1] / 'refs' / 'main').write_text('0' * 40)


def test_a_damaged_file_of_the_cache_is_named_though_the_hub_cannot_be_reached(tmp_path):
    transformers = pytest.importorskip('transformers')
    cached('owner/name', tmp_path, config_json='{"model_type": ')
    with pytest.raises(OSError, match=r'config\.json.*not a valid JSON'), hub.cache_if_unreachable():
        transformers.AutoConfig.from_pretrained('owner/name', cache_dir=tmp_path)


def test_a_file_of_the_cache_is_found_without_network(tmp_path):
    cached('owner/name', tmp_path, a='content')
    with hub.cache_if_unreachable():
        assert Path(hf_hub_download('owner/name', 'a', cache_dir=tmp_path)).read_text() == 'content'
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize('load, parts', [
    (lambda: weights_digest('ViT-B-16', 'laion2b_s34b_b88k'),
     ['ViT-B-16 (laion2b_s34b_b88k, 598 MB)', 'needed: laion/CLIP-ViT-B-16-laion2B-s34B-b88K', 'looked in: ', 'create_model']),
    (lambda: weights_digest('ViT-B-16-quickgelu', 'hf-hub:owner/name'), ["'hf-hub:owner/name'", 'needed: owner/name']),
    (lambda: TimmGuide('vit_base_patch8_224.dino').load(), ['vit_base_patch8_224.dino (343 MB)', 'looked in', 'create_model'])],
    ids=['CLIP', 'folder of the hub', 'guide'])
def test_missing_weights_are_named_after_one_attempt(load, parts, connections):
    with pytest.raises(FileNotFoundError) as raised:
        load()
    assert connections == [('127.0.0.1', 9)]
    assert all(part in str(raised.value) for part in [*parts, f'{NOWHERE} cannot be reached: '])


def test_a_missing_tokenizer_is_named_after_few_attempts(tmp_path, connections):
    pytest.importorskip('transformers')
    with pytest.raises(FileNotFoundError, match=f'^the tokenizer of ViT-B-16-SigLIP .*{NOWHERE} cannot be reached: '):
        load_clip('ViT-B-16-SigLIP', str(_file(tmp_path)))
    assert 1 <= len(connections) <= 2


def test_a_damaged_tokenizer_of_the_cache_is_named(tmp_path):
    pytest.importorskip('transformers')
    cached('timm/ViT-B-16-SigLIP', tmp_path, config_json='{"model_type": ')
    with pytest.raises(FileNotFoundError, match=r'^the tokenizer of ViT-B-16-SigLIP .*cannot be loaded: .*not a valid JSON'):
        load_clip('ViT-B-16-SigLIP', str(_file(tmp_path)))


def test_missing_region_networks_are_named_at_once(tmp_path):
    pytest.importorskip('transformers')
    code = ('from ovseg.models.regions import build_regions\n'
            "build_regions('regions', dict(type='TransformersRegions', model='facebook/no-such-sam')).check()")
    ended = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=100,
                           env={**os.environ, 'HF_ENDPOINT': NOWHERE, 'HF_HOME': str(tmp_path), 'HF_HUB_OFFLINE': '0',
                                'PYTHONPATH': str(Path(ovseg.__file__).parents[1])})
    assert f'({NOWHERE} cannot be reached: ' in ended.stderr.splitlines()[-1] and 'Retry' not in ended.stderr


def _file(folder):
    import torch
    torch.save({}, folder / 'weights.pt')
    return folder / 'weights.pt'
