"""Lines about class names that a model will confuse."""
import pytest
import torch
from torch.nn import functional as F

from ovseg.models import CLIPSegmentor
from ovseg.vocabulary import diagnosis
from ovseg.vocabulary.diagnosis import diagnose


def rows_of(*angles):
    """Unit rows in a plane, of angles in degrees."""
    radians = torch.tensor(angles).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_names_far_apart_say_nothing():
    assert diagnose([['cat', 'kitten'], ['sofa'], ['grass']], rows_of(0, 1, 60, 120)) == []  # synonyms may be equal


def test_a_class_with_no_name_of_its_own_is_named():
    synonyms = [['cat'], ['sofa', 'couch'], ['settee', 'divan'], ['grass', 'lawn']]
    same, pairs = diagnose(synonyms, rows_of(0, 60, 100, 60, 100, 60, 170))
    assert same == ('1 of 4 classes can have no pixel, because the model does not tell their names from those of earlier '
                    'classes, which win ties: settee; give them other names, or leave them out')
    assert pairs == ("the model does not tell apart 4 pairs of names of different classes (cosine over 0.999): 'sofa' and "
                     "'settee', 'couch' and 'divan', 'sofa' and 'grass', 'settee' and 'grass'; make them synonyms of one "
                     'class, or choose other names')


def test_near_names_are_named_and_counted():
    line, = diagnose([[f'thing {index}'] for index in range(4)], rows_of(0, 10, 20, 120))
    assert line.startswith("the model hardly tells apart 2 pairs of names of different classes (cosine over 0.95): 'thing 0' "
                           "and 'thing 1', 'thing 1' and 'thing 2'; make")


def test_one_pair_is_no_pairs():
    line, = diagnose([['sofa'], ['couch'], ['grass']], rows_of(0, 10, 120))
    assert line.startswith('the model hardly tells apart 1 pair of names of different classes')


@pytest.mark.parametrize('block', [1, 3, 1024])
def test_pairs_are_those_of_a_loop(block, monkeypatch):
    monkeypatch.setattr(diagnosis, 'BLOCK', block)
    rows = F.normalize(torch.randn(37, 3), dim=1)
    class_of = sorted(torch.randint(11, (26,)).tolist() + list(range(11)))
    synonyms = [[f'thing {index}' for index in range(37) if class_of[index] == each] for each in range(11)]
    near = [(j, i) for i in range(37) for j in range(37) if class_of[j] < class_of[i] and 0.95 < rows[i] @ rows[j] <= 0.999]
    same = [(j, i) for i in range(37) for j in range(37) if class_of[j] < class_of[i] and rows[i] @ rows[j] > 0.999]
    lines = diagnose(synonyms, rows)
    for what, pairs in (('does not tell apart', same), ('hardly tells apart', near)):
        found = [line for line in lines if what in line and 'pairs' in line]
        assert len(found) == bool(pairs)
        if pairs:
            assert f'{what} {len(pairs)} pairs' in found[0] and f"'thing {pairs[0][0]}' and 'thing {pairs[0][1]}'" in found[0]
            assert ('more;' in found[0]) == (len(pairs) > 5)


def test_spellings_of_one_name_are_named():
    line, = diagnose([['wine glass'], ['wineglass', 'goblet'], ['T-shirt'], ['t shirt']], rows_of(0, 40, 80, 120, 160))
    assert line == ("names of different classes differ only in case, spaces or punctuation: 'wine glass' and 'wineglass', "
                    "'T-shirt' and 't shirt'; they are two classes, so their pixels are divided between them")


@pytest.mark.parametrize(('name', 'expected'), [('ad20k', 'ade20k'), ('VOC 21', 'voc21'), ('coco-stuff', 'coco_stuff')])
def test_the_name_of_a_class_list_is_recognised(name, expected):
    line, = diagnose([[name]], rows_of(0))
    assert line == f'{name!r} is taken as the name of one class; the class list is called {expected!r}'


def test_the_name_of_a_thing_is_no_class_list():
    assert diagnose([['cat']], rows_of(0)) == []


def test_of_classes_with_equal_names_the_first_wins():
    """Ties go to the lower index, with and without probabilities, in one chunk of texts and in several."""
    model = CLIPSegmentor(clip=dict(name='ovseg-tiny-clip', pretrained='embedded'), windows=dict(crop=64, stride=48),
                          vocabulary=dict(names=['qqq', 'zzz', 'xxx', 'qzx'], templates=['a {}.']))
    model.text_embeddings = model.text_embeddings[:1].expand(4, -1).clone()
    for decoder in (dict(), dict(prob_thd=0.1, bg_idx=0), dict(with_seg_logits=True), dict(at_input_size=True),
                    dict(memory_mb=0.001), dict(with_confidence=True, reject=0.1), dict(area_thd=0.1, bg_idx=3),
                    dict(refiner='PAMR'), dict(refiner='PAMR', at_input_size=True, memory_mb=0.001)):
        variant = model.variant(decoder=decoder)
        result, = variant.predict([torch.randn(3, 61, 97)])
        assert result.pred_sem_seg.data.eq(0).all(), decoder
