"""SigLIP from end to end, with a stand-in for the tokenizer, which comes from the Hugging Face hub."""
import json
import re
from unittest import mock

import open_clip
import pytest
import timm
import torch
from mmengine.registry import DefaultScope

from ovseg.models import CLIPSegmentor
from ovseg.models.towers import TimmTower, load_clip, loading
from ovseg.models.towers.loading import describe_tower
from tests.tiny_timm import SIGLIP_TEXT, TOWERS, E, small_timm, tiny_clip

NAME = 'toy-siglip'
CREATE_MODEL = timm.create_model


def tokens_of(texts, context_length=11):
    """Ids by the letters of a text, the end of text 1 in every place behind it, as SigLIP pads."""
    ids = torch.ones(len(texts), context_length, dtype=torch.long)
    for row, text in zip(ids, texts):
        letters = [2 + ord(letter) % 51 for letter in text][:context_length]
        row[:len(letters)] = torch.tensor(letters)
    return ids


@pytest.fixture(autouse=True)
def _toy(tmp_path, monkeypatch):
    vision, small = TOWERS['SigLIP']
    (tmp_path / f'{NAME}.json').write_text(json.dumps(dict(
        embed_dim=E, vision_cfg=vision, text_cfg=SIGLIP_TEXT, custom_text=True, init_logit_bias=-10)))
    monkeypatch.setattr(open_clip.factory, '_MODEL_CONFIGS', dict(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(open_clip.factory, '_MODEL_CONFIG_PATHS', list(open_clip.factory._MODEL_CONFIG_PATHS))
    open_clip.add_model_config(tmp_path / f'{NAME}.json')
    monkeypatch.setattr(open_clip, 'get_tokenizer', lambda name: tokens_of)
    with small_timm(**small):
        yield


@pytest.fixture
def model():
    """The weights' model; its embeddings of texts have the width of the image tower's."""
    return tiny_clip('SigLIP')


@pytest.fixture
def weights(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / 'weights.pt')
    return str(tmp_path / 'weights.pt')


def segmentor(weights, **components):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return CLIPSegmentor(dict(name=NAME, pretrained=weights), dict(names=['cat', 'dog, puppy', 'sea'], templates=['a {}.']),
                             **{**dict(windows=dict(crop=35, stride=14), decoder=dict(with_seg_logits=True)), **components})


@torch.no_grad()
def test_loaded_weights_are_those_of_the_file(model, weights):
    clip = load_clip(NAME, weights)
    images = torch.randn(2, 3, 21, 35)
    assert isinstance(clip.image_tower, TimmTower)
    torch.testing.assert_close(clip.image_tower.pooled(images), model.encode_image(images), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_words_are_encoded_as_open_clip_does_with_the_whole_context(model, weights):
    encoder = load_clip(NAME, weights).text_encoder
    names, templates = ['cat', 'red panda'], ['a {}', 'my {}!']
    rows = [model.encode_text(tokens_of([template.format(name) for template in templates]), normalize=True).mean(dim=0)
            for name in names]
    expected = torch.nn.functional.normalize(torch.stack(rows), dim=-1)
    torch.testing.assert_close(encoder.encode(names, templates), expected, atol=1e-5, rtol=1e-5)


def test_random_weights_need_no_file():
    assert load_clip(NAME, None).image_tower.has_cls is False


def test_the_tower_is_described_without_its_text_tower(monkeypatch):
    monkeypatch.setattr(open_clip, 'CustomTextCLIP', None)
    tower = describe_tower(NAME)
    assert (tower.has_cls, tower.depth, tower.width, tower.output_width, tower.patch_size) == (False, 3, 22, 22, (7, 7))
    assert {parameter.device.type for parameter in tower.parameters()} == {'meta'}


@pytest.fixture
def narrow_text(monkeypatch):
    """Text embeddings as wide as the image tower's, as in all SigLIPs."""
    configs = open_clip.factory._MODEL_CONFIGS
    monkeypatch.setitem(configs, NAME, dict(configs[NAME], embed_dim=22))


@pytest.mark.usefixtures('narrow_text')
@pytest.mark.parametrize('cls_source', ['clip', 'last_block'])
def test_segmentation_without_a_cls_token(cls_source):
    model = segmentor(None, image_encoder=dict(attention='NACLIP', similarity={}, cls_source=cls_source),
                      post_processors=[dict(type='OutlierSuppression', top_k=2, detector='deviation')])
    image = torch.randn(3, 33, 47)
    with torch.no_grad():
        result = model.predict([image])[0]
    assert result.seg_logits.data.shape == (3, 33, 47) and result.seg_logits.data.isfinite().all()
    same = model.variant(image_encoder=dict(attention='NACLIP', similarity={}))
    with torch.no_grad():
        assert torch.equal(same.predict([image])[0].pred_sem_seg.data, result.pred_sem_seg.data)


@pytest.mark.parametrize(('components', 'message'), [
    (dict(post_processors=['CTD']), 'post_processors: CTD needs the CLS token of the image encoder'),
    (dict(post_processors=['GlobalDebias']), 'post_processors: GlobalDebias needs the CLS token of the image encoder'),
    (dict(post_processors=['SelfAttnEnhancement']), 'post_processors: SelfAttnEnhancement needs the CLS token'),
    (dict(post_processors=['OutlierSuppression']), 'post_processors: OutlierSuppression needs the CLS token'),
    (dict(decoder=dict(cls_token_lambda=-0.3)), 'decoder.cls_token_lambda=-0.3 needs a CLS token')], ids=str)
def test_what_needs_a_cls_token_is_refused_before_weights_are_read(monkeypatch, components, message):
    monkeypatch.setattr(loading, 'read_state_dict', lambda path: pytest.fail('weights were read'))
    with pytest.raises(ValueError, match=re.escape(message)):
        segmentor('/no/such/file', **components)


@pytest.mark.parametrize('tower', ['RN50', 'convnext_base', 'MobileCLIP-S1'])
def test_a_tower_without_a_patch_grid_is_refused_before_weights_are_read(tower):
    needed = rf"^clip\.name='{tower}': the image tower is a \w+( of timm)?; ovseg needs a Vi"
    with mock.patch.object(timm, 'create_model', CREATE_MODEL), pytest.raises(ValueError, match=needed):
        CLIPSegmentor(dict(name=tower, pretrained='/no/such/file'), dict(names=['cat']))


def test_a_tokenizer_that_is_not_there_is_named_before_weights_are_read(monkeypatch):
    def offline(name):
        raise OSError('no route\nto host')

    monkeypatch.setattr('ovseg.models.hub.unreachable', lambda: '')
    monkeypatch.setattr(open_clip, 'get_tokenizer', offline)
    monkeypatch.setattr(loading, '_download', lambda *args: '/no/such/file')
    with pytest.raises(FileNotFoundError, match=r'^the tokenizer of ViT-B-16-SigLIP needs the package transformers and '
                                                r'timm/ViT-B-16-SigLIP of the Hugging Face hub.*no route to host$'):
        load_clip('ViT-B-16-SigLIP', 'webli')


@pytest.mark.parametrize(('tags', 'mean'), [
    ([dict(mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))] * 2, (0.5, 0.4, 0.3)),
    ([dict(mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3)), dict(mean=(0.7, 0.4, 0.3), std=(0.1, 0.2, 0.3))],
     open_clip.OPENAI_DATASET_MEAN), ([], open_clip.OPENAI_DATASET_MEAN)])
def test_a_local_file_has_the_normalisation_that_all_weights_of_its_model_have(monkeypatch, weights, tags, mean):
    monkeypatch.setattr(open_clip.pretrained, '_PRETRAINED', {NAME: {str(number): tag for number, tag in enumerate(tags)}})
    assert load_clip(NAME, weights).mean == mean


def test_local_weights_of_siglip_are_normalised_as_siglip_was_trained():
    assert loading._usual_preprocess('ViT-B-16-SigLIP') == dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    assert loading._usual_preprocess('ViT-L-14') == {}
