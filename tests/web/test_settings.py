from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from ovseg.apis import OVSegInferencer
from ovseg.config import merge_options
from ovseg.models.post_processors import CTD, GlobalDebias, OutlierSuppression, SelfAttnEnhancement
from ovseg.models.towers import loading
from ovseg.models.upsamplers import jbu_one
from ovseg.web import settings as module
from ovseg.web.segment import TypedClasses, config_text, segment
from ovseg.web.settings import KEPT, Models, Setting, offered_methods

GATED = Setting('Gated', True, False, False, 30, 0.0, False)
FULL = Setting('NACLIP', False, True, True, 7, 0.3, True)
WORDS = TypedClasses(['ladybug', 'grass; lawn', 'snow'], None, 0.0)


def test_setting_of_a_config_and_back():
    assert Setting.of(dict(image_encoder=dict(attention='gated', similarity={}))) == GATED
    model = dict(post_processors=[dict(type='OutlierSuppression', top_k=11), dict(type='GlobalDebias', factor=0.25)])
    assert Setting.of(model) == Setting('Gated', False, False, True, 11, 0.25, False)
    for setting in (FULL, GATED):
        assert Setting.of(with_options({}, setting)) == setting


def with_options(model, setting):
    """The model's config with the options of a setting."""
    cfg = Config(dict(model=dict(type='CLIPSegmentor', **model)))
    merge_options(cfg, setting.options(model, {}), 'the config')
    return cfg.model


def test_options_keep_what_the_config_says_of_a_module_but_not_of_another_attention():
    model = dict(image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=3.0), cls_source='last_block'),
                 post_processors=['CTD', dict(type='OutlierSuppression', detector='norm', top_k=5)])
    full, gated = (with_options(model, setting) for setting in (FULL, GATED))
    assert full.image_encoder == dict(attention=dict(type='NACLIP', gaussian_std=3.0), cls_source='last_block')
    assert dict(type='OutlierSuppression', detector='norm', top_k=7) in full.post_processors
    assert gated.image_encoder == dict(attention=dict(type='Gated'), cls_source='last_block', similarity={})
    assert gated.post_processors == []


def test_models_have_what_was_switched_on(models):
    model = models.get(FULL).model
    modules = model.post_processors.modules
    assert [type(item) for item in modules] == [SelfAttnEnhancement, OutlierSuppression, GlobalDebias, CTD]
    assert modules[1].top_k == 7
    assert model.image_encoder.similarity is None
    model = models.get(GATED).model
    assert model.post_processors.modules == []
    assert model.image_encoder.similarity is not None


def test_a_checkbox_is_flipped_without_loading_clip_again(models, noise, monkeypatch):
    monkeypatch.setattr(loading, 'load_clip', pytest.fail)
    models._variant.cache_clear()
    off, on = (models.get(GATED._replace(ctd=ctd)) for ctd in (False, True))
    assert [len(inferencer.model.post_processors.modules) for inferencer in (off, on)] == [0, 1]
    assert on.model.tower is off.model.tower and on.model.text_encoder is off.model.text_encoder
    assert segment(on, noise, WORDS).painted().shape == noise.shape


def test_flipping_any_control_of_any_method_reads_no_weights_again(monkeypatch):
    """Of the CLIP, of guide networks, and of the upsampler, which are counted when the first model is built."""
    reads = []

    def counted(name, function):
        return lambda *args, **kwargs: reads.append(name) or function(*args, **kwargs)
    monkeypatch.setattr(loading, 'load_clip', counted('clip', loading.load_clip))
    monkeypatch.setattr(jbu_one, 'read_weights', counted('upsampler', lambda path, state: dict(state)))
    cfg = OVSegInferencer('gated_tiny-clip', device='cpu', cfg_options={
        'model.upsampler': dict(type='JBUOne', pretrained='weights.pt')}).cfg
    assert reads == ['clip', 'upsampler']
    models = Models(cfg, device='cpu')
    own = Setting.of(models.cfg.model)
    methods = dict(models.methods, **{'upsampled (method)': dict(upsampler=dict(type='JBUOne', pretrained='other.pt'))})
    monkeypatch.setattr(models, 'methods', methods)
    del reads[:]
    for change in (dict(ctd=True), dict(similarity=False), dict(debias=0.4), dict(outlier_suppression=True, top_k=3), {}):
        for method in (own.method, 'NACLIP', 'as configured'):
            model = models.get(own._replace(method=method, **change)).model
            assert type(model.upsampler).__name__ == 'JBUOne'
    assert reads == []
    for change in (dict(ctd=True), dict(similarity=False), dict(debias=0.4), dict(top_k=3), {}):
        models.get(own._replace(method='upsampled (method)', **change))
    assert reads == ['upsampler']


def test_each_method_gives_the_labels_of_its_config_without_loading_clip_again(models, noise, monkeypatch):
    fresh = {name: OVSegInferencer(f'{name[:-len(" (method)")]}_tiny-clip', device='cpu',
                                   cfg_options={'model.prompt_templates': ['a photo of {}.']}) for name in models.methods}
    monkeypatch.setattr(loading, 'load_clip', pytest.fail)
    models._variant.cache_clear()
    for name, expected in fresh.items():
        inferencer = models.get(FULL._replace(method=name))
        found, wanted = (one(noise, WORDS.classes)['predictions'][0] for one in (inferencer, expected))
        np.testing.assert_array_equal(found, wanted)
        assert len(Config.fromstring(config_text(inferencer, WORDS), '.py').model.image_encoder) > 0
    assert len(fresh) >= 8


def test_settings_of_a_config_of_another_method():
    other = Models('proxyclip_tiny-clip', device='cpu')
    assert Setting.of(other.cfg.model).method == 'as configured'
    assert type(other.get(Setting.of(other.cfg.model)).model.image_encoder).__name__ == 'ProxyCLIPEncoder'
    full = other.get(FULL).model
    assert type(full.image_encoder).__name__ == 'LastBlockEncoder' and len(full.post_processors.modules) == 4
    assert other.get(FULL._replace(method='scclip (method)')).model.post_processors.modules == []


def test_only_methods_that_fit_the_clip_and_this_machine_are_offered():
    named = {name[:-len(' (method)')] for name in offered_methods(OVSegInferencer(
        'scclip_vit-b16', device='cpu', cfg_options={'model.clip.pretrained': None}))}
    assert {'clip', 'naclip', 'proxyclip', 'lposs_plus', 'scclip', 'resclip'} <= named
    assert 'corrclip' not in named  # it has no region maps


def test_the_last_models_are_kept_and_no_more(monkeypatch):
    built = []
    cfg = Config(dict(model={}, test_dataloader=dict(dataset=dict(pipeline=[]))))
    inferencer = SimpleNamespace(cfg=cfg, variant=lambda options: built.append(options) or object())
    monkeypatch.setattr(module, 'OVSegInferencer', lambda *args, **kwargs: inferencer)
    monkeypatch.setattr(module, 'offered_methods', lambda inferencer: {})
    models = Models()
    settings = [GATED._replace(debias=number / 100) for number in range(KEPT + 1)]
    first = models.get(settings[0])
    for setting in (settings[1], settings[0]):
        models.get(setting)
    assert models.get(settings[0]) is first and len(built) == 2
    for setting in settings[1:]:
        models.get(setting)
    assert models.get(settings[0]) is not first


def test_images_may_be_as_large_as_the_pipeline_allows():
    assert Models(device='cpu', max_pixels=1000).max_pixels == 200
    cfg = OVSegInferencer(device='cpu').cfg
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(64, 64), keep_ratio=True))
    assert Models(cfg, device='cpu', max_pixels=1000).max_pixels == 1000
