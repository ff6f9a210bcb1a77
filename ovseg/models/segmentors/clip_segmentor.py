"""Training-free open-vocabulary segmentation with a frozen CLIP."""
from inspect import signature
from pathlib import Path
from typing import Any, Iterator, List, Mapping, NoReturn, Optional, Sequence, Tuple, Union

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from ovseg.datasets.class_lists import class_names
from ovseg.datasets.prompt_templates import prompt_templates as bundled_templates
from ovseg.inference.decode import class_probabilities, label_map, merge_windows
from ovseg.inference.windows import PAD_MODES, WindowLayout, map_windows
from ovseg.models.data_preprocessor import build_data_preprocessor
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.encoders import CLIPImageEncoder, TextEncoder, load_clip
from ovseg.models.encoders.image_encoder import SIMILARITY_KEYS
from ovseg.models.post_processors import PostProcessorChain, modules_from_switches
from ovseg.utils import check_choice, check_flag, check_integer, check_keys, check_number, full_precision

Images = Union[Tensor, Sequence[Tensor]]


@MODELS.register_module()
class CLIPSegmentor(BaseSegmentor):
    """The conductor: image -> windows -> encoder and post-processors -> cosine scores with the class names -> label map.

    Args:
        clip_model: open_clip's name of the model.
        pretrained: Its weights: a tag, a local checkpoint, ``'embedded'``, or None (random). See ``load_clip``.
        name_path: A bundled class list, a text file, or a list of strings, one per class, synonyms inside.
        prompt_templates: A bundled set of templates, or a list of strings with one ``{}``.
        model_type: Attention of the last block. See ``CLIPImageEncoder`` for this and the next six.
        ignore_residual: Leave the last block's residual and MLP out.
        attention_cfg: Keywords of that attention.
        apply_similarity_enhancement: Add the mid-layer similarity map to the attention.
        similarity_enhancement_cfg: Its keywords.
        cls_source: ``'clip'`` or ``'last_block'``.
        attention_layer: The block whose attention the post-processors see.
        logit_scale: Multiplies cosine scores in front of the softmax.
        prob_thd: Pixels whose best probability is under it become ``bg_idx``; in [0, 1].
        bg_idx: Index of the background class.
        slide_crop: Side of the square windows in pixels; 0 takes the whole image.
        slide_stride: Step between them.
        pad_mode: ``'center'`` or ``'none'``. See ``AxisWindows.plan``.
        window_batch_size: Windows per forward pass.
        with_seg_logits: Return the class probabilities ``(K, H, W)`` too, as ``seg_logits``.
        data_preprocessor: Default: RGB, normalised as the CLIP weights want it.
        switches: ``apply_*`` and ``*_cfg`` of the post-processors, or ``post_processors``. See ``modules_from_switches``.

    Raises:
        ValueError: an unknown key or name, or a number out of range; the message lists what is allowed.
    """

    image_encoder: CLIPImageEncoder
    text_encoder: TextEncoder
    query_to_class: Tensor
    _query_embeddings: Optional[Tensor]

    def __init__(self, clip_model: str, pretrained: Optional[str], name_path: Union[str, Path, Sequence[str]],
                 prompt_templates: Union[str, Sequence[str]] = 'imagenet80', model_type: str = 'Experimental',
                 ignore_residual: bool = True, attention_cfg: Optional[Mapping[str, Any]] = None,
                 apply_similarity_enhancement: bool = False,
                 similarity_enhancement_cfg: Optional[Mapping[str, Any]] = None, cls_source: str = 'clip',
                 attention_layer: int = -1, logit_scale: float = 40, prob_thd: float = 0.0, bg_idx: int = 0,
                 slide_crop: int = 224, slide_stride: int = 112, pad_mode: str = 'center', window_batch_size: int = 32,
                 with_seg_logits: bool = False, data_preprocessor: Optional[Mapping[str, Any]] = None,
                 **switches: Any) -> None:
        check_keys('CLIPSegmentor', switches, {*signature(CLIPSegmentor).parameters,
                                               *signature(modules_from_switches).parameters} - {'switches'})
        _check_numbers(logit_scale, prob_thd, slide_crop, slide_stride, window_batch_size)
        clip = load_clip(clip_model, pretrained)
        super().__init__(build_data_preprocessor(clip, data_preprocessor))
        apply = check_flag('apply_similarity_enhancement', apply_similarity_enhancement)
        similarity_cfg = dict(similarity_enhancement_cfg or {})
        check_keys('similarity_enhancement_cfg', similarity_cfg, SIMILARITY_KEYS)
        self.image_encoder = CLIPImageEncoder(clip.model.visual, model_type, ignore_residual, attention_cfg,
                                              similarity_cfg if apply else None, cls_source,
                                              attention_layer)
        del clip.model.visual  # the image encoder owns it now
        self.text_encoder = TextEncoder(clip.model, clip.tokenizer)
        self.post_processors = PostProcessorChain(modules_from_switches(**switches))
        self.templates = bundled_templates(prompt_templates)
        self.logit_scale, self.prob_thd, self.bg_idx = logit_scale, prob_thd, bg_idx
        self.slide_crop, self.slide_stride = slide_crop, slide_stride
        self.pad_mode = check_choice('pad_mode', pad_mode, PAD_MODES)
        self.window_batch_size = window_batch_size
        self.with_seg_logits = check_flag('with_seg_logits', with_seg_logits)
        self.set_classes(name_path)
        patch = max(self.image_encoder.patch_size)
        if 0 < slide_crop < patch:
            raise ValueError(f'slide_crop={slide_crop} is under one patch of {clip_model} ({patch} pixels); '
                             '0 takes the whole image')

    def set_classes(self, names: Union[str, Path, Sequence[str]]) -> None:
        """Change the vocabulary of a live model; ``names`` as ``name_path``."""
        classes = class_names(names)
        check_integer('bg_idx', self.bg_idx, 0, len(classes) - 1, f'there are {len(classes)} classes')
        self.class_names = [synonyms[0] for synonyms in classes]
        self.query_names = [name for synonyms in classes for name in synonyms]
        query_to_class = [index for index, synonyms in enumerate(classes) for _ in synonyms]
        device = self.image_encoder.visual.proj.device
        self.register_buffer('query_to_class', torch.tensor(query_to_class, device=device), persistent=False)
        self.register_buffer('_query_embeddings', None, persistent=False)

    @property
    def out_channels(self) -> int:
        """Number of classes K, under mmseg's name."""
        return len(self.class_names)

    @property
    def query_embeddings(self) -> Tensor:
        """Unit text embeddings ``(Q, E)`` of all names, encoded at first use, where the model then is."""
        if self._query_embeddings is None:
            self._query_embeddings = self.text_encoder.encode(self.query_names, self.templates)
        return self._query_embeddings

    def predict(self, inputs: Images, data_samples: Optional[List[SegDataSample]] = None) -> List[SegDataSample]:
        """Label maps in the images' original size.

        Args:
            inputs: Normalised images, ``(B, 3, H, W)`` or a list of ``(3, H, W)`` of different sizes.
            data_samples: Their metadata; ``ori_shape`` and ``flip`` are honoured. Without it, labels have input size.

        Returns:
            The samples with ``pred_sem_seg`` ``(1, H, W)`` and, with ``with_seg_logits``, ``seg_logits (K, H, W)``.
        """
        samples = [SegDataSample() for _ in inputs] if data_samples is None else data_samples
        if len(samples) != len(inputs):
            raise ValueError(f'{len(inputs)} images came with {len(samples)} data samples')
        sizes = [sample.get('ori_shape', image.shape[1:])[:2] for image, sample in zip(inputs, samples)]
        for sample, probabilities in zip(samples, self._class_probabilities(inputs, sizes)):
            probabilities = probabilities.flip(_flipped_axes(sample))
            labels = label_map(probabilities, self.prob_thd, self.bg_idx)
            sample.set_data(dict(pred_sem_seg=PixelData(data=labels.unsqueeze(0))))
            if self.with_seg_logits:
                sample.set_data(dict(seg_logits=PixelData(data=probabilities)))
        return samples

    def extract_feat(self, inputs: Tensor) -> DenseFeatures:
        """Embeddings of a batch of windows ``(B, 3, h, w)`` in CLIP's joint space."""
        tokens = self.image_encoder.tokens(inputs, with_attention=self.post_processors.needs_attention)
        tokens = self.post_processors(tokens, 'tokens')
        embeddings = self.image_encoder.project(tokens)
        return self.post_processors(embeddings, 'embeddings')

    def encode_decode(self, inputs: Tensor, batch_data_samples: Optional[List[SegDataSample]] = None) -> Tensor:
        """Class probabilities ``(B, K, H, W)`` of equally large images, in input size."""
        return torch.stack(list(self._class_probabilities(inputs, [image.shape[1:] for image in inputs])))

    _forward = encode_decode

    def loss(self, inputs: Images, data_samples: Optional[List[SegDataSample]] = None) -> NoReturn:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError('CLIPSegmentor is training-free and has no loss: run it with tools/test.py')

    def _class_probabilities(self, inputs: Images, sizes: Sequence[Tuple[int, int]]) -> Iterator[Tensor]:
        """Per image ``(K, *size)``: cut into windows, score all windows as one batch, merge, softmax."""
        layouts = [WindowLayout.plan(tuple(image.shape[1:]), self.slide_crop, self.slide_stride,
                                     self.image_encoder.patch_size, self.pad_mode) for image in inputs]
        windows = [layout.cut(image) for layout, image in zip(layouts, inputs)]
        window_scores = map_windows(self._patch_scores, windows, self.window_batch_size)
        for scores, layout, size in zip(window_scores, layouts, sizes):
            with full_precision(scores):
                dense_scores = merge_windows(scores, layout, size)
                probabilities = class_probabilities(dense_scores, self.query_to_class, self.out_channels, self.logit_scale)
            yield probabilities

    def _patch_scores(self, windows: Tensor) -> Tensor:
        """Cosine similarity of every patch with every query, ``(B, N, Q)`` float32."""
        patches = self.extract_feat(windows).patches.float()
        with full_precision(patches):
            return F.normalize(patches, dim=-1) @ self.query_embeddings.float().t()


def _check_numbers(logit_scale: float, prob_thd: float, slide_crop: int, slide_stride: int, window_batch_size: int) -> None:
    check_number('logit_scale', logit_scale, above=True)
    check_number('prob_thd', prob_thd, 0, 1)
    if check_integer('slide_crop', slide_crop, 0, meaning='pixels, or 0 for the whole image'):
        check_integer('slide_stride', slide_stride, 1, slide_crop, f'slide_crop={slide_crop}: no pixel is left out')
    check_integer('window_batch_size', window_batch_size, 1)


def _flipped_axes(sample: SegDataSample) -> Tuple[int, ...]:
    """Axes along which test-time augmentation has mirrored the image of ``sample``."""
    direction = sample.get('flip_direction') if sample.get('flip') else None
    return {None: (), 'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}[direction]
