import torch
from mmseg.structures import SegDataSample

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def sample(**metainfo):
    return SegDataSample(metainfo=metainfo)


def probabilities_of(segmentor, image):
    result, = segmentor.predict([image], [sample()])
    return result.seg_logits.data


def test_test_step_normalises_bgr_images_as_clip_wants_them(segmentor):
    bgr = torch.randint(0, 256, (3, 71, 53), dtype=torch.uint8)
    normalised = torch.stack([(bgr[2 - c] / 255 - MEAN[c]) / STD[c] for c in range(3)])
    result, = segmentor.test_step(dict(inputs=[bgr], data_samples=[sample(ori_shape=(71, 53))]))
    torch.testing.assert_close(result.seg_logits.data, probabilities_of(segmentor, normalised), atol=1e-4, rtol=1e-3)


def test_a_preprocessor_of_ones_own_is_used(build):
    own = dict(type='OVSegDataPreProcessor', mean=[7.] * 3, std=[3.] * 3)
    segmentor = build(data_preprocessor=own)
    bgr = torch.randint(0, 256, (3, 71, 53), dtype=torch.uint8)
    result, = segmentor.test_step(dict(inputs=[bgr], data_samples=[sample(ori_shape=(71, 53))]))
    expected = probabilities_of(segmentor, (bgr.float() - 7) / 3)
    torch.testing.assert_close(result.seg_logits.data, expected, atol=1e-4, rtol=1e-3)


def test_mmseg_s_preprocessor_gives_what_ours_gives(build):
    bgr = torch.randint(0, 256, (3, 71, 53), dtype=torch.uint8)
    found = []
    for type_ in ('OVSegDataPreProcessor', 'SegDataPreProcessor'):
        segmentor = build(data_preprocessor=dict(type=type_, mean=[7.] * 3, std=[3.] * 3, bgr_to_rgb=True))
        result, = segmentor.test_step(dict(inputs=[bgr], data_samples=[sample(ori_shape=(71, 53))]))
        found.append(result.seg_logits.data)
    torch.testing.assert_close(*found)
