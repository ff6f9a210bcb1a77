"""Scores of classes that are put together at the size of the input, against loops."""
import pytest
import torch
from torch.nn import functional as F

from ovseg.inference.input_size import class_scores
from ovseg.inference.nonfinite import ImagePatches
from ovseg.inference.windows import WindowLayout
from ovseg.models.class_texts import ClassTexts
from ovseg.models.decoder import Decoder
from ovseg.models.refiners import PAMR, InputRefiner
from tests.window_loops import loop_merge, resized

CLASS_OF = torch.tensor([0, 0, 0, 0, 0, 1, 2, 2, 3])
LAYOUT = WindowLayout.plan((61, 97), 48, 31, (16, 16))
OUT = (43, 113)
PATCHES, TEXTS = F.normalize(torch.randn(len(LAYOUT), 9, 7), dim=-1), F.normalize(torch.randn(9, 7), dim=-1)


class Edges(InputRefiner):
    def of_image(self, image):
        self.seen = image
        return lambda scores: scores - scores.roll(1, dims=2) * image[0]


def by_loop(refine=lambda scores: scores):
    scores = refine(loop_merge(PATCHES @ TEXTS.t(), (61, 97), 48, 31, (16, 16), 'center', (61, 97)))
    return resized(torch.stack([scores[index == CLASS_OF].amax(dim=0) for index in range(4)]), OUT)


def together(chunks):
    firsts, scores = zip(*chunks)
    assert list(firsts) == [sum(map(len, scores[:index])) for index in range(len(scores))]
    return torch.cat(scores), len(scores)


@pytest.mark.parametrize(('memory_mb', 'count'), [(256, 1), (0.001, 4), (0.47, 2)])
@pytest.mark.parametrize('of_scores', [False, True])
def test_scores_of_classes_are_those_of_a_loop(memory_mb, count, of_scores):
    patches, texts = (PATCHES @ TEXTS.t(), None) if of_scores else (PATCHES, TEXTS)
    found, chunks = together(class_scores(patches, texts, CLASS_OF, 4, LAYOUT, OUT, memory_mb))
    torch.testing.assert_close(found, by_loop(), atol=1e-5, rtol=1e-4)
    assert chunks == count


@pytest.mark.parametrize('memory_mb', [256, 0.001])
def test_texts_are_refined_before_the_resize(memory_mb):
    def refine(scores):
        return scores.square().cumsum(dim=2)
    found, _ = together(class_scores(PATCHES, TEXTS, CLASS_OF, 4, LAYOUT, OUT, memory_mb, refine))
    torch.testing.assert_close(found, by_loop(refine), atol=1e-3, rtol=1e-4)


def test_one_text_of_each_class():
    found, _ = together(class_scores(PATCHES, TEXTS, torch.arange(9), 9, LAYOUT, OUT))
    expected = loop_merge(PATCHES @ TEXTS.t(), (61, 97), 48, 31, (16, 16), 'center', (61, 97))
    torch.testing.assert_close(found, resized(expected, OUT), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('memory_mb', [256, 0.001])
@pytest.mark.parametrize('refiner', [None, PAMR(2, (1, 3)), Edges()], ids=['none', 'PAMR', 'Edges'])
def test_labels_and_probabilities_of_the_decoder(memory_mb, refiner):
    image, windows, texts = torch.rand(3, 61, 97), ImagePatches(LAYOUT, PATCHES, None), ClassTexts(TEXTS, CLASS_OF, 4)
    decoder = Decoder(logit_scale=9, prob_thd=0.4, bg_idx=2, memory_mb=memory_mb, refiner=refiner, at_input_size=True)
    probabilities = (9 * by_loop(*[] if refiner is None else [refiner.of_image(image)])).softmax(dim=0)
    torch.testing.assert_close(decoder.probabilities(image, windows, texts, OUT), probabilities, atol=1e-5, rtol=1e-4)
    largest, expected = probabilities.max(dim=0)
    expected[largest < 0.4] = 2
    found, *others = decoder(image, windows, texts, OUT)
    assert others == [None] * 3 and (found != expected).float().mean() < 1e-3 and len(found.unique()) > 2
    with_probabilities = Decoder(logit_scale=9, prob_thd=0.4, bg_idx=2, refiner=refiner, at_input_size=True, area_thd=0.0)
    assert (with_probabilities(image, windows, texts, OUT)[0] != expected).float().mean() < 1e-3


def test_a_refiner_sees_zero_where_the_image_is_not_finite():
    image, refiner = torch.rand(3, 61, 97), Edges()
    image[1, 3, 5], image[2, 7, 11] = torch.nan, torch.inf
    Decoder(refiner=refiner)(image, ImagePatches(LAYOUT, PATCHES, None), ClassTexts(TEXTS, CLASS_OF, 4), OUT)
    assert refiner.seen[1, 3, 5] == refiner.seen[2, 7, 11] == 0 and refiner.seen.isfinite().all()
    assert torch.equal(refiner.seen[0], image[0])


def test_patches_that_are_not_finite_have_no_label():
    nonfinite = torch.zeros(PATCHES.shape[:2], dtype=torch.bool)
    nonfinite[1, 4] = True
    patches = PATCHES.masked_fill(nonfinite.unsqueeze(2), 0)
    windows = ImagePatches(LAYOUT, patches, nonfinite)
    labels, *_ = Decoder(at_input_size=True)(torch.rand(3, 61, 97), windows, ClassTexts(TEXTS, CLASS_OF, 4), OUT)
    assert torch.equal(labels == 255, windows.undefined_pixels(OUT)) and (labels == 255).any()
