import json
import re
import sys

import pytest
import torch
from mmseg.structures import SegDataSample

from ovseg.models.regions import TransformersRegions, region_map
from ovseg.models.regions.transformers_regions import paint

transformers = pytest.importorskip('transformers', minversion='4.57', reason='needs the networks of transformers')
SIZE = (37, 53)


def sam2(folder):
    hiera = transformers.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[64, 64], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 2, 4, 8], window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3])
    vision = transformers.Sam2VisionConfig(
        backbone_config=hiera, backbone_channel_list=[64, 32, 16, 8], backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=16)
    prompts = transformers.Sam2PromptEncoderConfig(hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4)
    decoder = transformers.Sam2MaskDecoderConfig(hidden_size=16, mlp_dim=16, num_attention_heads=2, iou_head_hidden_dim=16)
    config = transformers.Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    transformers.Sam2Model(config).save_pretrained(folder)
    transformers.Sam2ImageProcessor(size=dict(height=64, width=64), mask_size=dict(height=16, width=16)).save_pretrained(folder)


def mask2former(folder):
    swin = transformers.SwinConfig(image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=2,
                                   out_features=['stage1', 'stage2', 'stage3', 'stage4'])
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        dim_feedforward=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=7, num_labels=5)
    network = transformers.Mask2FormerForUniversalSegmentation(config)
    for parameter in network.parameters():  # as they are made, the masks are empty
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    network.save_pretrained(folder)
    transformers.Mask2FormerImageProcessor(size=dict(height=64, width=64)).save_pretrained(folder)


def eomt(folder):
    config = transformers.EomtConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=16,
                                     num_queries=7, num_blocks=1, num_register_tokens=2, num_labels=5, num_upscale_blocks=2)
    transformers.EomtForUniversalSegmentation(config).save_pretrained(folder)
    size = dict(shortest_edge=64, longest_edge=64)
    transformers.EomtImageProcessor(size=size, do_split_image=False, do_pad=True).save_pretrained(folder)


NETWORKS = dict(sam2=sam2, mask2former=mask2former, eomt=eomt)


@pytest.fixture(scope='module', params=NETWORKS)
def source(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(2)  # with which none of the maps is empty
    NETWORKS[request.param](folder)
    return TransformersRegions(str(folder), 4, pred_iou_thresh=0, stability_score_thresh=0, threshold=0)


def test_the_network_gives_a_region_map(source):
    source.check()
    network = source.load()
    rgb = torch.rand(3, *SIZE)
    found = region_map(source, network, rgb, SegDataSample())
    assert found.shape == SIZE and 0 < found.max() <= 16
    assert torch.equal(found, region_map(source, network, rgb.permute(1, 2, 0).contiguous().permute(2, 0, 1), SegDataSample()))


def test_masks_of_sam_are_those_of_its_own_generator(tmp_path):
    sam2(tmp_path)
    source = TransformersRegions(str(tmp_path), 4, pred_iou_thresh=0, stability_score_thresh=0)
    network = source.load()
    rgb = torch.rand(3, *SIZE)
    image = (rgb * 255).round().to(torch.uint8)
    generator = transformers.pipeline('mask-generation', model=network.network, image_processor=network.processor)
    single = network.network.forward
    network.network.forward = lambda **inputs: single(**inputs, multimask_output=False)
    masks = generator(transformers.image_transforms.to_pil_image(image.permute(1, 2, 0).numpy()), points_per_crop=4,
                      pred_iou_thresh=0, stability_score_thresh=0)['masks']
    network.network.forward = single
    assert torch.equal(source(network, rgb, SegDataSample()), paint([torch.as_tensor(mask).bool() for mask in masks], image))


def test_small_masks_are_painted_over_large_ones():
    large, small = torch.zeros(2, 3, 5, dtype=torch.bool)
    large[:, :4], small[1, 1:3] = True, True
    assert paint([small, large], torch.zeros(3, 3, 5)).tolist() == [[1, 1, 1, 1, 0], [1, 2, 2, 1, 0], [1, 1, 1, 1, 0]]
    assert not paint([], torch.zeros(3, 3, 5)).any()


def test_the_digest_is_that_of_the_files(source, tmp_path):
    before = source.digest()
    assert before == source.digest()
    torch.manual_seed(1)
    sam2(tmp_path)
    assert TransformersRegions(str(tmp_path)).digest() != before
    assert TransformersRegions('facebook/sam2-hiera-large').digest() == 'facebook/sam2-hiera-large'


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(model=''), "TransformersRegions model='' must be a name on the hub, or a folder"),
    (dict(points_per_side=0), 'TransformersRegions points_per_side=0'),
    (dict(pred_iou_thresh=1.5), 'TransformersRegions pred_iou_thresh=1.5'),
    (dict(threshold=-1), 'TransformersRegions threshold=-1')])
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        TransformersRegions(**settings)


def test_a_folder_without_network_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'TransformersRegions model=.*config\.json cannot be read.* cache /.*/hub;'):
        TransformersRegions(str(tmp_path)).check()


def test_missing_weights_are_named(tmp_path):
    sam2(tmp_path)
    for path in tmp_path.glob('*.safetensors'):
        path.unlink()
    source = TransformersRegions(str(tmp_path))
    source.check()
    with pytest.raises(FileNotFoundError, match=r'TransformersRegions model=.*its weights cannot be read'):
        source.load()


def test_another_kind_of_network_is_refused(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='bert')))
    with pytest.raises(ValueError, match=r'is a bert, and a network for mask generation \(sam2\) or panoptic segmentation'):
        TransformersRegions(str(tmp_path)).check()


def test_transformers_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r'TransformersRegions needs transformers: .*pip install -e ".*\[regions\]"'):
        TransformersRegions().check()
