import math

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from mmseg.registry import MODELS

from ovseg.models.classifiers import TokenClassifier
from ovseg.models.dense import WindowBatch, project

HEADS = dict(n1=dict(n=1), n4=dict(n=4), k3=dict(n=2, top_k=3))


@pytest.fixture(scope='module')
def build():
    def build_classifier(heads=HEADS, **cfg):
        torch.manual_seed(7)
        with DefaultScope.overwrite_default_scope('mmseg'):
            return MODELS.build(dict(type='TokenClassifier', clip=dict(name='ovseg-tiny-clip', pretrained=None), num_classes=5,
                                     heads=heads, **cfg))
    return build_classifier


@pytest.fixture
def classifier(build):
    return build()


@pytest.fixture
def images():
    return [torch.randn(3, 48, 80) for _ in range(3)]


def samples(*labels):
    return [BaseDataElement(gt_label=label) for label in labels]


def tokens_of(classifier, images):
    """CLS token and patches in CLIP's joint space, one image at a time."""
    rows = []
    for image in images:
        batch = WindowBatch(image[None], classifier.mean, classifier.std)
        features = project(classifier.tower, classifier.encoder.tokens(classifier.tower, batch))
        rows.append(torch.stack([features.cls_token[0], *features.patches[0]]))
    return torch.stack(rows)


def plain_cross_entropy(logits, labels):
    """Every label stands for as many neighbouring rows as there are rows per label."""
    repeats = len(logits) // len(labels)
    losses = [math.log(sum(math.exp(value) for value in row)) - row[labels[index // repeats]]
              for index, row in enumerate(logits.tolist())]
    return sum(losses) / len(losses)


def test_it_is_built_by_mmseg(classifier):
    assert isinstance(classifier, TokenClassifier)
    assert list(classifier.heads) == ['n1', 'n4', 'k3']
    assert [(head.n, head.top_k) for head in classifier.heads.values()] == [(1, 1), (4, 1), (2, 3)]


def test_heads_start_equal_and_share_nothing(classifier):
    first, *others = (dict(head.named_parameters()) for head in classifier.heads.values())
    for other in others:
        assert all(torch.equal(first[name], other[name]) and first[name] is not other[name] for name in first)
    assert len({parameter.data_ptr() for parameter in classifier.heads.parameters()}) == 3 * len(first)


def test_only_heads_are_trained(classifier):
    classifier.train()
    trained = {name for name, parameter in classifier.named_parameters() if parameter.requires_grad}
    assert trained == {f'heads.{name}' for name, _ in classifier.heads.named_parameters()} and len(trained) == 12
    assert not any(module.training for module in classifier.encoder.modules())
    assert classifier.heads.training


@pytest.mark.parametrize('training', [True, False])
def test_mode_tensor_gives_the_logits_of_every_head(classifier, images, training):
    classifier.train(training)
    found = classifier(images)
    assert {name: tuple(logits.shape) for name, logits in found.items()} == (
        dict(n1=(3, 5), n4=(12, 5), k3=(6, 5)) if training else dict(n1=(3, 5), n4=(3, 5), k3=(3, 5)))
    tokens = tokens_of(classifier, images)
    for name, head in classifier.heads.items():
        torch.testing.assert_close(found[name], head(tokens), atol=1e-5, rtol=1e-4)


def test_heads_see_the_cls_token_and_all_patches(classifier, images):
    seen = []
    classifier.heads['n1'].register_forward_pre_hook(lambda head, args: seen.append(args[0]))
    classifier(images)
    torch.testing.assert_close(seen[0], tokens_of(classifier, images), atol=1e-5, rtol=1e-4)
    assert seen[0].shape == (3, 16, 128)


@pytest.mark.parametrize('training', [True, False])
def test_mode_loss_is_the_cross_entropy_with_repeated_labels(classifier, images, training):
    classifier.train(training)
    with torch.no_grad():
        for head in classifier.heads.values():
            head.mlp[-1].weight.mul_(20)  # scores far from equal
    losses, logits = classifier(images, samples(4, 0, 2), mode='loss'), classifier(images)
    assert set(losses) == {'loss_n1', 'loss_n4', 'loss_k3'}
    for name, value in logits.items():
        assert losses[f'loss_{name}'].item() == pytest.approx(plain_cross_entropy(value, [4, 0, 2]), rel=1e-4)


def test_a_step_moves_heads_alone(classifier, images):
    classifier.train()
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in classifier.parameters() if p.requires_grad], lr=1.0)
    sum(classifier(images, samples(4, 0, 2), mode='loss').values()).backward()
    optimizer.step()
    moved = {name for name, value in classifier.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith('heads.')}


@pytest.mark.parametrize('heads', [HEADS, dict(all=dict(n=4, training_only=False))], ids=str)
def test_mode_predict_scores_each_image_as_if_alone(build, images, heads):
    classifier = build(heads).eval()
    given = samples(1, 2, 3)
    results = classifier(images, given, mode='predict')
    assert [result.gt_label for result in results] == [1, 2, 3]
    for index, image in enumerate(images):
        alone, = classifier([image], samples(0), mode='predict')
        for name in heads:
            assert results[index].pred_scores[name].shape == (5,)
            torch.testing.assert_close(results[index].pred_scores[name], alone.pred_scores[name], atol=1e-5, rtol=1e-4)


def test_predictions_are_the_logits_of_the_image_itself(classifier, images):
    classifier.eval()
    results, logits = classifier(images, samples(1, 2, 3), mode='predict'), classifier(images)
    for index, result in enumerate(results):
        assert set(result.pred_scores) == set(HEADS)
        for name in HEADS:
            assert torch.equal(result.pred_scores[name], logits[name][index])


def test_the_preprocessor_normalises_bgr_images_as_clip_wants_them(classifier, images):
    classifier.eval()
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    bgr = torch.randint(0, 256, (3, 48, 80), dtype=torch.uint8)
    normalised = torch.stack([(bgr[2 - c] / 255 - mean[c]) / std[c] for c in range(3)])
    result, = classifier.test_step(dict(inputs=[bgr], data_samples=samples(2)))
    torch.testing.assert_close(result.pred_scores['n1'], classifier([normalised])['n1'][0], atol=1e-4, rtol=1e-4)


def test_unknown_keys_of_a_head_are_named(build):
    with pytest.raises((TypeError, ValueError), match='topk'):
        build(dict(n4=dict(topk=3)))
