"""Confidence and rejection of the decoder, against loops over the merged scores."""
import pytest
import torch
from torch.nn import functional as F

from ovseg.inference.decode import Best, confidence_of
from ovseg.inference.nonfinite import ImagePatches
from ovseg.inference.windows import WindowLayout
from ovseg.models.class_texts import ClassTexts
from ovseg.models.decoder import Decoder
from ovseg.models.refiners import PAMR

LAYOUT = WindowLayout.plan((61, 97), 48, 31, (16, 16))
OUT = (43, 53)
IMAGE = torch.rand(3, 61, 97, generator=torch.Generator().manual_seed(5))
CLASSES = {'synonyms': ([0, 0, 0, 0, 0, 1, 2, 2, 3], 4), 'names': (list(range(11)), 11), 'one class': ([0, 0, 0], 1)}


def given(kind, seed=3):
    class_of, count = CLASSES[kind]
    generator = torch.Generator().manual_seed(seed)
    patches = F.normalize(torch.randn(len(LAYOUT), 9, 7, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(len(class_of), 7, generator=generator), dim=-1)
    return ImagePatches(LAYOUT, patches, None), ClassTexts(texts, torch.tensor(class_of), count)


def loop_confidence(scores, class_of, scale):
    """Probability of the best class and margin to the second, pixel by pixel, of ``scores (Q, H, W)``."""
    found = torch.empty(2, *scores.shape[1:])
    for y in range(scores.shape[1]):
        for x in range(scores.shape[2]):
            weights = (scale * scores[:, y, x].double()).exp()
            best = {}
            for weight, class_ in zip((weights / weights.sum()).tolist(), class_of):
                best[class_] = max(weight, best.get(class_, 0))
            first, second, *_ = [*sorted(best.values(), reverse=True), 0]
            found[0, y, x], found[1, y, x] = first, first - second
    return found


def test_the_two_best_classes_are_those_of_a_loop_whatever_the_chunks():
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        counts = torch.randint(1, 4, (1 + seed % 7,), generator=generator)
        class_of = torch.arange(len(counts)).repeat_interleave(counts)
        scores = torch.randn(len(class_of), 3, 5, generator=generator).mul_(4).round_().div_(4)  # with ties
        best = Best((3, 5), scores.device, 2.3, True, class_of)
        first = 0
        while first < len(class_of):
            stop = first + int(torch.randint(1, 5, (1,), generator=generator))
            best.update(slice(None), first, scores[first:stop].transpose(0, 1).clone())
            first = stop
        torch.testing.assert_close(best.confidence(), loop_confidence(scores, class_of.tolist(), 2.3), atol=1e-5, rtol=1e-5)
        expected = torch.stack([scores[class_of == index].amax(0) for index in range(len(counts))]).argmax(0)
        assert torch.equal(class_of[best.index], expected)


def test_confidence_of_probabilities():
    probabilities = torch.tensor([[0.2, 0.5], [0.7, 0.5], [0.1, 0.0]]).unsqueeze(1)
    torch.testing.assert_close(confidence_of(probabilities), torch.tensor([[[0.7, 0.5]], [[0.5, 0.0]]]))
    torch.testing.assert_close(confidence_of(probabilities[:1]), torch.tensor([[[0.2, 0.5]], [[0.2, 0.5]]]))


@pytest.mark.parametrize('kind', CLASSES)
@pytest.mark.parametrize('memory_mb', [256, 0.02, 1e-6])
@pytest.mark.parametrize('options', [dict(), dict(refiner=PAMR(2, (1, 3))), dict(at_input_size=True)],
                         ids=['', 'PAMR', 'input size'])
def test_confidence_is_that_of_the_class_probabilities(kind, memory_mb, options):
    windows, texts = given(kind)
    probabilities = Decoder(logit_scale=9, **options).probabilities(IMAGE, windows, texts, OUT)
    values = probabilities.sort(dim=0, descending=True).values
    margin = values[0] - values[1] if len(values) > 1 else values[0]
    plain = Decoder(logit_scale=9, memory_mb=memory_mb, **options)(IMAGE, windows, texts, OUT)
    decoder = Decoder(logit_scale=9, memory_mb=memory_mb, with_confidence=True, **options)
    found = decoder(IMAGE, windows, texts, OUT)
    torch.testing.assert_close(found.confidence, torch.stack([values[0], margin]), atol=1e-5, rtol=1e-4)
    assert found.confidence.dtype == torch.float32 and plain.confidence is None
    assert torch.equal(found.labels, plain.labels) and found.probabilities is None


@pytest.mark.parametrize('options', [dict(), dict(with_seg_logits=True), dict(area_thd=0.0), dict(at_input_size=True)], ids=str)
def test_reject_comes_after_the_threshold(options):
    windows, texts = given('synonyms')
    decoder = Decoder(logit_scale=9, prob_thd=0.45, bg_idx=2, reject=0.4, with_confidence=True, **options)
    labels, _, (probability, _), undefined = decoder(IMAGE, windows, texts, OUT)
    expected = Decoder(logit_scale=9, **options)(IMAGE, windows, texts, OUT).labels
    for y in range(OUT[0]):
        for x in range(OUT[1]):
            if probability[y, x] < 0.45:
                expected[y, x] = 255 if probability[y, x] < 0.4 else 2
    assert torch.equal(labels, expected) and undefined is None
    assert 0.05 < (labels == 255).float().mean() < 0.95 and ((probability >= 0.4) & (probability < 0.45)).any()


@pytest.mark.parametrize('options', [dict(), dict(with_seg_logits=True), dict(at_input_size=True)], ids=str)
def test_undefined_pixels_have_no_confidence_and_are_not_the_rejected_ones(options):
    windows, texts = given('names')
    nonfinite = torch.zeros(windows.patches.shape[:2], dtype=torch.bool)
    nonfinite[1, 4] = True
    windows = windows._replace(patches=windows.patches.masked_fill(nonfinite.unsqueeze(2), 0), nonfinite=nonfinite)
    found = Decoder(logit_scale=9, reject=0.3, with_confidence=True, **options)(IMAGE, windows, texts, OUT)
    undefined = windows.undefined_pixels(OUT)
    assert torch.equal(found.undefined, undefined) and undefined.any()
    assert torch.equal(found.confidence.isnan(), undefined.expand(2, -1, -1))
    assert torch.equal(found.labels == 255, undefined | (found.confidence[0] < 0.3)) and (found.confidence[0] < 0.3).any()


@pytest.mark.parametrize('reject', [-0.1, 1.1, float('nan'), 'much'])
def test_reject_is_a_probability(reject):
    with pytest.raises(ValueError, match=r'decoder\.reject'):
        Decoder(reject=reject)
