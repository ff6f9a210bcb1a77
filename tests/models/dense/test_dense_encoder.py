import pytest
import torch

from ovseg.models import CLIPSegmentor, TokenClassifier
from ovseg.models.dense import LastBlockEncoder

CLIP = dict(name='ovseg-tiny-clip', pretrained='embedded')


class ReadingEncoder(LastBlockEncoder):
    """Adds the mean text embedding of class 0 to the patches, cut to their width, and keeps the batches that it saw."""

    needs_texts = True

    def tokens(self, tower, batch, with_attention=False):
        self.seen = batch.texts
        features = super().tokens(tower, batch, with_attention)
        if batch.texts is None:
            return features
        first = batch.texts.embeddings[batch.texts.class_of == 0].mean(0)
        return features.replace(patches=features.patches + 9 * first.repeat(2)[:features.patches.shape[-1]])


@pytest.fixture(scope='module')
def segmentor():
    return CLIPSegmentor(clip=CLIP, vocabulary=dict(names=['zebra, leopard', 'grass', 'snow'], templates=['{}']),
                         image_encoder=ReadingEncoder(), decoder=dict(with_seg_logits=True))


def test_an_encoder_that_declares_it_gets_text_embeddings_with_their_classes(segmentor):
    segmentor.predict([torch.randn(3, 61, 97)])
    assert torch.equal(segmentor.image_encoder.seen.embeddings, segmentor.text_embeddings)
    assert segmentor.image_encoder.seen.class_of.tolist() == [0, 0, 1, 2] and segmentor.image_encoder.seen.num_classes == 3


def test_other_class_names_reach_the_encoder(segmentor):
    image = torch.randn(3, 61, 97)
    first, other = (segmentor.variant(vocabulary=dict(names=names, templates=['{}'])).predict([image])[0].seg_logits.data
                    for names in (['zebra', 'grass'], ['brick', 'grass']))
    live = segmentor.variant()
    live.set_classes(['brick', 'grass'])
    assert torch.equal(live.predict([image])[0].seg_logits.data, other) and not torch.equal(first, other)


def test_other_encoders_get_none(segmentor):
    plain = segmentor.variant(image_encoder='LastBlockEncoder')
    assert plain.batch(torch.randn(2, 3, 32, 48)).texts is None
    assert segmentor.batch(torch.randn(2, 3, 32, 48)).texts is not None


def test_a_classifier_has_none_to_give():
    with pytest.raises(ValueError, match='image_encoder: ReadingEncoder needs text embeddings, and a classifier has none'):
        TokenClassifier(clip=CLIP, num_classes=3, heads=dict(n1=dict(n=1)), image_encoder=ReadingEncoder())
