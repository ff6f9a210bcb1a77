from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ovseg
from ovseg.ablation.settings import Setting
from ovseg.ablation.sharing import SettingsModel, SharedTokens
from ovseg.models.dense_features import DenseFeatures

DEMO = str(Path(ovseg.__file__).parents[1] / 'configs' / 'demo' / 'gated_tiny-clip_demo.py')
OPTIONS = [
    {}, dict(apply_outlier_suppression=True), dict(apply_ctd=True, logit_scale=20, prob_thd=0.4),
    dict(apply_self_attn_enhancement=True, apply_outlier_suppression=True, global_debias_factor=0.2),
    dict(post_processors=['GlobalDebias'], cls_token_lambda=-0.3), dict(area_thd=0.9, bg_idx=3),
    dict(name_path=['sky', 'sand; water', 'stone']), dict(prompt_templates=['{}', 'a drawing of {}.']),
    {'refine.type': 'PAMR', 'refine.num_iter': 2}]


def setting(options):
    common = {'prompt_templates': 'plain', 'slide_crop': 64, 'slide_stride': 48, 'window_batch_size': 5}
    return Setting('demo', 'x', DEMO, {f'model.{key}': value for key, value in {**common, **options}.items()}, {})


@pytest.fixture(scope='module')
def settings():
    init_default_scope('mmseg')
    return [setting(options) for options in OPTIONS]


@pytest.fixture(scope='module')
def model(settings):
    assert len({one.encoder_digest for one in settings}) == 1
    return SettingsModel(settings)


@pytest.fixture
def images():
    return [torch.randn(3, 71, 103), torch.randn(3, 59, 131)]


def samples():
    return [SegDataSample(metainfo=dict(ori_shape=(83, 101), img_path='a')),
            SegDataSample(metainfo=dict(ori_shape=(61, 97), img_path='b'))]


@torch.no_grad()
def test_every_setting_gives_the_labels_that_it_gives_alone(model, settings, images):
    given = samples()
    found = model(images, given)
    for one, predictions in zip(settings, found):
        expected = MODELS.build(one.cfg.model).predict(images, samples())
        for a, b in zip(predictions, expected):
            assert torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data) and a.img_path == b.img_path
    assert len({sample.pred_sem_seg.data.numpy().tobytes() for sample, _ in found}) == len(settings)  # none is another's
    assert 'pred_sem_seg' not in given[0]


@torch.no_grad()
def test_every_window_goes_through_the_encoder_once(model, images, monkeypatch):
    seen, tokens = [], model.shared.tokens
    monkeypatch.setattr(model.shared, 'tokens', lambda windows, **kwargs: seen.append(windows) or tokens(windows, **kwargs))
    model(images, samples())
    windows = torch.cat(seen)
    assert len(windows) == 2 * 2 + 1 * 3 and len(windows.flatten(1).unique(dim=0)) == len(windows)
    model(images[:1], samples()[:1])
    assert len(model.shared.known) == 1  # what belongs to other images is freed


@torch.no_grad()
def test_words_are_encoded_once(settings, images, monkeypatch):
    monkeypatch.setenv('OVSEG_CACHE', 'off')
    model = SettingsModel([settings[0], settings[1], *settings[6:8]])
    encoder = model.segmentors[0].text_encoder
    seen, rows = [], encoder._rows
    encoder._rows = lambda names, *rest: seen.append(list(names)) or rows(names, *rest)
    model(images, samples())
    assert [len(names) for names in seen] == [16, 1, 16]  # all classes; of the other list what is new; the other templates


def features(images, with_attention):
    attn = torch.ones(len(images), 2, 2) if with_attention else None
    return DenseFeatures(images.sum(dim=(2, 3)).unsqueeze(1), images[:, :, 0, 0], attn, (1, 1))


@pytest.mark.parametrize('needed', [True, False])
def test_attention_is_for_those_who_ask(needed):
    def tokens(images, with_attention):
        calls.append(with_attention)
        return features(images, with_attention)

    calls = []
    shared = SharedTokens(tokens, needed)
    windows = torch.randn(2, 3, 5, 7)
    assert shared(windows.clone()).attn is None and (shared(windows, with_attention=needed).attn is not None) is needed
    assert calls == [needed]
    shared(windows + 1)
    shared(windows[:1])
    assert len(calls) == 3
    shared.forget()
    shared(windows)
    assert len(calls) == 4
