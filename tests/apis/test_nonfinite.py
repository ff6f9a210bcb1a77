"""Images whose scores are not finite."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

from ovseg.models.post_processors import PostProcessorChain
from ovseg.models.post_processors.post_processor import PostProcessor

WORDS = ['zebra', 'ladybug; beetle', 'snow']


class BreakCorner(PostProcessor):
    """NaN in the first patch of every window of images that are wider than ``beyond`` patches."""
    stage = 'embeddings'

    def __init__(self, beyond):
        self.beyond = beyond

    def __call__(self, features):
        patches = features.patches.clone()
        if features.grid_size[1] > self.beyond:
            patches[:, 0, 3] = torch.nan
        return features.replace(patches=patches)


@pytest.fixture
def breaking(build):
    """An inferencer in which wide images, of 7 patches or more, are broken."""
    inferencer = build()
    inferencer.model.post_processors = PostProcessorChain([BreakCorner(6)])
    return inferencer


@pytest.mark.parametrize('batch_size', [1, 3])
def test_the_error_names_image_and_module(breaking, noise, tmp_path, batch_size):
    Image.fromarray(noise(61, 181)).save(tmp_path / 'wide.png')
    images = [noise(61, 83), tmp_path / 'wide.png', noise(47, 31)]
    with pytest.raises(FloatingPointError) as error:
        breaking(images, WORDS, batch_size=batch_size)
    assert str(error.value) == f'{tmp_path / "wide.png"}: the output of post-processor BreakCorner is not finite'


def test_only_the_image_is_looked_into(breaking, noise):
    seen = []
    hook = breaking.model.tower.visual.conv1.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    with pytest.raises(FloatingPointError):
        breaking([noise(61, 83), noise(61, 181), noise(47, 31)], WORDS, batch_size=3)
    hook.remove()
    assert seen == [1, 1, 1, 1]  # one window each, and one more


def test_going_on(breaking, build, noise, tmp_path):
    images = [noise(61, 83), noise(61, 181)]
    found = list(breaking.stream(images, WORDS, out_dir=tmp_path, return_vis=True, allow_nonfinite=True))
    expected = build()(images, WORDS)['predictions']
    np.testing.assert_array_equal(found[0].labels, expected[0])
    assert found[0].undefined == 0 and sum(found[0].areas.values()) == pytest.approx(1)

    broken = found[1].labels == 255
    assert found[1].undefined == broken.sum() and 0 < broken.mean() < 0.5 and found[1].labels.dtype == np.uint8
    np.testing.assert_array_equal(found[1].labels[~broken], expected[1][~broken])
    for index, name in enumerate(('zebra', 'ladybug', 'snow')):
        assert found[1].areas.get(name, 0) == pytest.approx((found[1].labels == index).mean())
    np.testing.assert_array_equal(found[1].visualization[:61, :181][broken], images[1][broken][:, ::-1])

    np.testing.assert_array_equal(np.array(Image.open(tmp_path / 'pred' / '000001.png')), found[1].labels)
    results = json.loads((tmp_path / 'results.json').read_text(encoding='utf-8'))
    assert [entry.get('undefined_pixels') for entry in results['images']] == [None, broken.sum()]
    result = breaking(images, WORDS, allow_nonfinite=True)
    np.testing.assert_array_equal(result['predictions'][1], found[1].labels)


def test_the_legend_has_an_entry_for_what_has_no_class(breaking, noise, monkeypatch):
    legends = []
    monkeypatch.setattr('ovseg.apis.painting.painted_with_legend',
                        lambda image, labels, palette, legend: legends.append(legend) or image)
    areas = breaking([noise(61, 83), noise(61, 181)], WORDS, return_vis=True, allow_nonfinite=True)['areas']
    assert [entry[0].split()[0] for entry in legends[0]] == list(areas[0])
    assert legends[1][-1] == (f'undefined {1 - sum(areas[1].values()):.0%}', [255, 255, 255])


def test_the_legend_tells_rejected_pixels_from_undefined_ones(breaking, noise, monkeypatch):
    legends = []
    monkeypatch.setattr('ovseg.apis.painting.painted_with_legend',
                        lambda image, labels, palette, legend: legends.append(legend) or image)
    found, = breaking.stream(noise(61, 181), WORDS, return_vis=True, allow_nonfinite=True, reject=1.)
    assert found.undefined > 0 and found.rejected > 0 and found.undefined != found.rejected
    assert legends[0][-2:] == [(f'undefined {found.undefined / 61 / 181:.0%}', [255, 255, 255]),
                               (f'rejected {found.rejected / 61 / 181:.0%}', [255, 255, 255])]


def test_over_255_classes(breaking, noise):
    words = [f'thing {index}' for index in range(257)]
    found, = breaking.stream(noise(61, 181), words, allow_nonfinite=True)
    assert found.labels.dtype == np.uint16 and (found.labels == 65535).sum() == found.undefined > 0


def test_no_image_has_a_class(build, noise):
    inferencer = build()
    inferencer.model.post_processors = PostProcessorChain([BreakCorner(0)])
    with torch.no_grad():
        inferencer.model.tower.visual.ln_post.bias[0] = torch.nan
    found, = inferencer.stream(noise(), WORDS, return_vis=True, allow_nonfinite=True)
    assert (found.labels == 255).all() and found.areas == {} and found.undefined == noise().shape[0] * noise().shape[1]
    with pytest.raises(FloatingPointError, match=r'the weight visual\.ln_post\.bias of the image tower is not finite'):
        inferencer(noise(), WORDS)
