from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import ovseg
from ovseg.ablation.settings import Setting
from ovseg.ablation.sharing import SettingsModel, SharedEncoder
from ovseg.models import CLIPSegmentor
from ovseg.models.class_texts import ClassTexts
from ovseg.models.dense import DenseEncoder, WindowBatch
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.towers import loading
from ovseg.registry import DENSE_ENCODERS

DEMO = str(Path(ovseg.__file__).parents[1] / 'configs' / 'demo' / 'gated_tiny-clip_demo.py')
BEHIND = [  # settings with one image encoder and the same windows
    {}, dict(apply_outlier_suppression=True), dict(apply_ctd=True, logit_scale=20, prob_thd=0.4),
    dict(apply_self_attn_enhancement=True, apply_outlier_suppression=True, global_debias_factor=0.2),
    {'post_processors': ['GlobalDebias'], 'decoder.cls_token_lambda': -0.3}, {'decoder.area_thd': 0.9, 'bg_idx': 3},
    dict(name_path=['sky', 'sand; water', 'stone']), dict(prompt_templates=['{}', 'a drawing of {}.']),
    {'decoder.refiner.type': 'PAMR', 'decoder.refiner.num_iter': 2}]
BEFORE = [dict(model_type='KK'), dict(ignore_residual=False), dict(apply_similarity_enhancement=False),
          {'image_encoder.similarity.layer': 1, 'name_path': ['sky', 'sand; water', 'stone']},
          {'image_encoder.precision': 'bf16', 'global_debias_factor': 0.7}, dict(slide_stride=37), dict(slide_crop=0),
          dict(slide_crop=53, pad_mode='none'), {'windows.batch_size': 2, 'logit_scale': 3},
          {'image_encoder.attention_layer': -2, 'apply_self_attn_enhancement': True}]

LPOSS = dict(type='LPOSS', guide='CLIPGuide')


def setting(options):
    common = {'prompt_templates': 'plain', 'slide_crop': 64, 'slide_stride': 48, 'windows.batch_size': 5}
    return Setting('demo', 'x', DEMO, {f'model.{key}': value for key, value in {**common, **options}.items()}, {})


@pytest.fixture(scope='module')
def settings():
    init_default_scope('mmseg')
    return [setting(options) for options in BEHIND]


@pytest.fixture(scope='module')
def model(settings):
    assert len({one.weights_digest for one in settings}) == 1
    return SettingsModel(settings)


@pytest.fixture
def images():
    return [torch.randn(3, 71, 103), torch.randn(3, 59, 131)]


def samples():
    return [SegDataSample(metainfo=dict(ori_shape=(83, 101), img_path='a')),
            SegDataSample(metainfo=dict(ori_shape=(61, 97), img_path='b'))]


def check_against_single_runs(model, settings, images):
    given = samples()
    found = model(images, given)
    for one, predictions in zip(settings, found):
        expected = MODELS.build(one.cfg.model).predict(images, samples())
        for a, b in zip(predictions, expected):
            assert torch.equal(a.pred_sem_seg.data, b.pred_sem_seg.data) and a.img_path == b.img_path
    assert 'pred_sem_seg' not in given[0]
    return {sample.pred_sem_seg.data.numpy().tobytes() for sample, _ in found}


@torch.no_grad()
def test_every_setting_gives_the_labels_that_it_gives_alone(model, settings, images):
    assert len(check_against_single_runs(model, settings, images)) == len(settings)  # none is another's


@torch.no_grad()
def test_settings_that_differ_before_the_post_processors_too(images):
    settings = [setting(options) for options in ({}, *BEFORE)]
    assert len({one.weights_digest for one in settings}) == 1
    model = SettingsModel(settings)
    assert len(model.encoders) == 7
    assert len(check_against_single_runs(model, settings, images)) > 7


@pytest.fixture
def read(monkeypatch):
    """The weights files that are read."""
    files, original = [], loading.read_state_dict
    monkeypatch.setattr(loading, 'read_state_dict', lambda path: files.append(path) or original(path))
    return files


def test_the_clip_is_loaded_once(read):
    SettingsModel([setting(options) for options in (*BEHIND, *BEFORE)])
    assert len(read) == 1


@torch.no_grad()
@pytest.mark.parametrize('precisions', [('fp16', 'fp32'), ('fp16', 'bf16'), ('bf16', 'fp32', 'bf16'), ('fp16', 'fp16')])
def test_no_precision_is_made_of_another_but_fp32(precisions, images, read):
    settings = [setting({'image_encoder.precision': precision, 'logit_scale': 40 + index})
                for index, precision in enumerate(precisions)]
    model = SettingsModel(settings)
    assert len(read) == 1 and len(model.encoders) == len(set(precisions))
    for one, segmentor in zip(settings, model.segmentors):
        expected = MODELS.build(one.cfg.model).tower.state_dict()
        found = segmentor.tower.state_dict()
        assert all(found[key].dtype == value.dtype and torch.equal(found[key], value) for key, value in expected.items())


@torch.no_grad()
def test_every_window_goes_through_the_encoder_once(model, images, monkeypatch):
    (encoder, shared), = model.encoders.items()
    seen, tokens = [], encoder.tokens
    monkeypatch.setattr(encoder, 'tokens',
                        lambda tower, batch, **kwargs: seen.append(batch.images) or tokens(tower, batch, **kwargs))
    model(images, samples())
    windows = torch.cat(seen)
    assert len(windows) == 2 * 2 + 1 * 3 and len(windows.flatten(1).unique(dim=0)) == len(windows)
    model(images[:1], samples()[:1])
    assert len(shared.known) == 1  # what belongs to other images is freed


@torch.no_grad()
def test_settings_that_differ_in_words_and_decoder_share_what_is_scored(images, monkeypatch):
    words = [dict(name_path=['sky', 'sand; water']), dict(prompt_templates=['{}']), dict(logit_scale=3, bg_idx=2)]
    alike = [dict(one, post_processors=['OutlierSuppression', LPOSS]) for one in ({}, *words)]
    other = {'decoder.cls_token_lambda': -0.3, **alike[0]}
    settings = [setting(options) for options in (*alike, other, dict(alike[1], slide_crop=0), words[0])]
    model = SettingsModel(settings)
    called, original = [], CLIPSegmentor.window_patches
    monkeypatch.setattr(CLIPSegmentor, 'window_patches', lambda self, *args: called.append(self) or original(self, *args))
    model(images, samples())
    assert len(called) == 4 and model.sources == [0, 0, 0, 0, 4, 5, 6]
    monkeypatch.undo()
    check_against_single_runs(model, settings, images)


@torch.no_grad()
def test_words_are_encoded_once(settings, images, monkeypatch):
    monkeypatch.setenv('OVSEG_CACHE', 'off')
    model = SettingsModel([settings[0], settings[1], *settings[6:8]])
    encoder = model.segmentors[0].text_encoder
    seen, rows = [], encoder._rows
    encoder._rows = lambda names, *rest: seen.append(list(names)) or rows(names, *rest)
    model(images, samples())
    assert [len(names) for names in seen] == [16, 1, 16]  # all classes; of the other list what is new; the other templates


class Counting(DenseEncoder):
    """The windows' mean colour, with an attention of ones; its calls are counted."""

    gives_cls = False

    def __init__(self):
        super().__init__()
        self.calls = []

    def check(self, tower):
        pass

    def tokens(self, tower, batch, with_attention=False):
        self.calls.append(with_attention)
        attn = torch.ones(len(batch.images), 2, 2) if with_attention else None
        return DenseFeatures(batch.images.sum(dim=(2, 3)).unsqueeze(1), None, attn, (1, 1))


@pytest.mark.parametrize('needed', [True, False])
def test_attention_is_for_those_who_ask(needed):
    def ask(windows, **kwargs):
        return shared.tokens(None, WindowBatch(windows, mean, std), **kwargs)

    encoder = Counting()
    shared, mean, std = SharedEncoder(encoder, needed), torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    windows = torch.randn(2, 3, 5, 7)
    assert ask(windows.clone()).attn is None and (ask(windows, with_attention=needed).attn is not None) is needed
    assert encoder.calls == [needed]
    ask(windows + 1)
    ask(windows[:1])
    assert len(encoder.calls) == 3
    shared.forget()
    ask(windows)
    assert len(encoder.calls) == 4


def test_other_text_embeddings_are_other_features():
    encoder = Counting()
    encoder.needs_texts = True
    shared, mean, std = SharedEncoder(encoder, False), torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    assert shared.needs_texts
    windows, rows, classes = torch.randn(2, 3, 5, 7), torch.randn(3, 11), torch.tensor([0, 0, 1])
    for embeddings, class_of, calls in ((rows, classes, 1), (rows.clone(), classes.clone(), 1), (rows + 1, classes, 2),
                                        (rows, torch.tensor([0, 1, 1]), 3), (rows[:2], classes[:2], 4), (rows, classes, 4)):
        shared.tokens(None, WindowBatch(windows, mean, std, texts=ClassTexts(embeddings, class_of, 2)))
        assert len(encoder.calls) == calls


def test_features_are_projected_as_their_encoder_does_it():
    encoder = Counting()
    encoder.project = lambda tower, features: (tower, features)
    assert SharedEncoder(encoder, False).project('a tower', 'features') == ('a tower', 'features')


def test_components_that_do_not_fit_are_named_as_in_a_single_run(monkeypatch):
    monkeypatch.setitem(DENSE_ENCODERS.module_dict, 'Counting', Counting)
    settings = [setting({'image_encoder.type': 'Counting'}),
                setting({'image_encoder.type': 'Counting', 'post_processors': ['GlobalDebias']})]
    with pytest.raises(ValueError, match='GlobalDebias needs the CLS token of the image encoder, and Counting gives none'):
        SettingsModel(settings)
