"""Names, tags and paths that do not lead to weights of the model."""
from pathlib import Path

import open_clip
import pytest
from huggingface_hub.constants import HF_HUB_CACHE

from ovseg.models.towers import load_clip

GELU, QUICK = 'toy-vit', 'toy-vit-quickgelu'


@pytest.fixture(scope='module', autouse=True)
def _toy_models(register_models):
    config = dict(embed_dim=13, vision_cfg=dict(layers=2), text_cfg=dict(layers=3))  # no test builds the models
    register_models({GELU: config, QUICK: dict(config, quick_gelu=True)})


@pytest.mark.parametrize('pretrained', ['', 5, b'openai', ['openai']])
def test_pretrained_of_another_kind(pretrained):
    with pytest.raises(ValueError, match=r'pretrained=.* must be a tag, a path, or None'):
        load_clip(GELU, pretrained)


def test_the_name_of_a_user_that_does_not_exist():
    message = r'^clip\.pretrained=~no_such_user/weights\.pt: there is no home folder ~no_such_user '
    with pytest.raises(ValueError, match=message):
        load_clip(GELU, '~no_such_user/weights.pt')


@pytest.mark.parametrize(('asked', 'tag', 'right'), [('ViT-B-16', 'openai', 'ViT-B-16-quickgelu'),
                                                     ('ViT-L-14-336', 'openai', 'ViT-L-14-336-quickgelu'),
                                                     ('ViT-B-32', 'metaclip_400m', 'ViT-B-32-quickgelu')])
def test_tag_of_the_other_activation(asked, tag, right, monkeypatch):
    monkeypatch.setattr('ovseg.models.towers.loading.download_pretrained', pytest.fail)
    with pytest.raises(ValueError, match=f"pretrained='{tag}' was trained with QuickGELU.*set clip.name='{right}'"):
        load_clip(asked, tag)


def test_gelu_tag_in_a_quickgelu_model(monkeypatch):
    tags = {QUICK: dict(mine=dict(url='https://host/weights.pt'))}
    monkeypatch.setattr(open_clip.pretrained, '_PRETRAINED', tags)
    with pytest.raises(ValueError, match=r"pretrained='mine' was trained with GELU, but .* computes QuickGELU: "
                                         r"set clip.name='toy-vit'"):
        load_clip(QUICK, 'mine')


@pytest.mark.parametrize(('name', 'hint'), [('ViT-B-16-quikgelu', "did you mean 'ViT-B-16-quickgelu'"),
                                            ('toy-vitt', "did you mean 'toy-vit'"),
                                            ('qqq', r'open_clip\.list_models\(\) lists them')])
def test_unknown_model_suggests(name, hint):
    with pytest.raises(ValueError, match=f"clip.name='{name}' is not an open_clip model; {hint}"):
        load_clip(name, None)


def test_unknown_tag_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"pretrained='laion9b' is neither a tag of ViT-B-16 \(.*openai.*laion2b_s34b_b88k.*\) "
                                         r'nor a file or folder'):
        load_clip('ViT-B-16', 'laion9b')


def test_unknown_tag_of_the_embedded_model_lists_embedded():
    with pytest.raises(ValueError, match=r'neither a tag of ovseg-tiny-clip \(embedded\)'):
        load_clip('ovseg-tiny-clip', 'openai')


def test_a_name_that_no_file_can_have_is_cut():
    with pytest.raises(ValueError, match=r"^clip\.pretrained='a+\.\.\.a+' is neither a tag of ovseg-tiny-clip") as caught:
        load_clip('ovseg-tiny-clip', 'a' * 5000)
    assert len(str(caught.value)) < 1500


def test_embedded_is_no_tag_of_another_model():
    with pytest.raises(ValueError, match=r"pretrained='embedded' is neither a tag of toy-vit \(it has none\)"):
        load_clip(GELU, 'embedded')


def test_missing_file_says_where_it_looked(tmp_path):
    path = tmp_path / 'absent.pt'
    with pytest.raises(ValueError, match=f'nor a file or folder \\(looked at {path}\\)'):
        load_clip(GELU, str(path))


def test_folder_without_weights_names_what_it_looks_for(tmp_path):
    (tmp_path / 'open_clip_config.json').write_text('{}')
    with pytest.raises(FileNotFoundError, match=r'folder without any of open_clip_model\.safetensors, '
                                                r'open_clip_pytorch_model\.bin, model\.safetensors, pytorch_model\.bin$'):
        load_clip(GELU, str(tmp_path))


@pytest.mark.parametrize('error', [OSError, RuntimeError])
@pytest.mark.parametrize(('tag', 'needed', 'place'), [
    (dict(hf_hub='owner/weights/'), 'owner/weights on the Hugging Face hub', HF_HUB_CACHE),
    (dict(url='https://host/weights.pt'), 'https://host/weights.pt', str(Path.home() / '.cache/clip'))])
def test_offline_error_names_file_place_and_command(monkeypatch, tag, needed, place, error):
    def unreachable(tag):
        raise error('no route to host')

    monkeypatch.setattr('ovseg.models.hub.unreachable', lambda: '')
    monkeypatch.setattr(open_clip.pretrained, '_PRETRAINED', {GELU: dict(mine=tag)})
    monkeypatch.setattr('ovseg.models.towers.loading.download_pretrained', unreachable)
    with pytest.raises(FileNotFoundError) as raised:
        load_clip(GELU, 'mine')
    message = str(raised.value)
    assert all(part in message for part in (needed, f'looked in: {place}\n', f'copy the folder {Path(place).name} of',
                                        "open_clip.create_model('toy-vit', 'mine')", 'no route to host'))


def test_offline_error_for_openai_s_weights(monkeypatch):
    def unreachable(tag):
        raise OSError('no route to host')

    monkeypatch.setattr('ovseg.models.towers.loading.download_pretrained', unreachable)
    with pytest.raises(FileNotFoundError, match=r'(?s)ViT-B-16-quickgelu \(openai, 598 MB\) are not on this machine.*needed: '
                                                r".*\n.*looked in: .*create_model\('ViT-B-16-quickgelu', 'openai'\)"):
        load_clip('ViT-B-16-quickgelu', 'openai')
