"""Training-free open-vocabulary segmentation with a frozen CLIP."""
import math
from inspect import signature
from pathlib import Path
from typing import Any, List, Mapping, NoReturn, Optional, Sequence, Tuple, Union

import torch
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F

from ovseg.datasets.class_lists import class_names, vocabulary_name, warn_of_one_class
from ovseg.datasets.prompt_templates import prompt_templates as bundled_templates
from ovseg.inference.decode import Refine, best_queries, class_probabilities, label_map, merge_windows
from ovseg.inference.nonfinite import ImagePatches, ignore_label, partial_label_map
from ovseg.inference.windows import PAD_MODES, WindowLayout, map_windows
from ovseg.models.data_preprocessor import build_data_preprocessor, check_no_padding
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.encoders import CLIPImageEncoder, CompiledCLIPImageEncoder, TextEncoder, load_clip
from ovseg.models.encoders.image_encoder import SIMILARITY_KEYS
from ovseg.models.post_processors import PostProcessorChain, modules_from_switches
from ovseg.precision import full_precision
from ovseg.registry import REFINERS
from ovseg.utils import build_checked, check_choice, check_dict, check_flag, check_integer, check_keys, check_number

Images = Union[Tensor, Sequence[Tensor]]

PRECISIONS = dict(fp32=torch.float32, fp16=torch.float16, bf16=torch.bfloat16)
LARGEST_LOGIT = 1e38  # differences of two logits stay in the range of float32


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
        cls_token_lambda: Adds this times the CLS token's score to the scores of its window's patches (SegEarth-OV: -0.3).
        logit_scale: Multiplies cosine scores in front of the softmax.
        prob_thd: Pixels whose best probability is under it become ``bg_idx``; in [0, 1].
        area_thd: Classes that cover no more than this share of the foreground give their pixels away (SCLIP); in [0, 1].
        bg_idx: Index of the background class.
        refine: Config of what refines dense scores by the image, e.g. ``dict(type='PAMR')``.
        slide_crop: Side of the square windows in pixels; 0 takes the whole image.
        slide_stride: Step between them.
        pad_mode: ``'center'`` or ``'none'``. See ``AxisWindows.plan``.
        window_batch_size: Windows per forward pass; ``'auto'`` takes what fits into the GPU's free memory (32 on a CPU).
        precision: ``'fp32'``, ``'fp16'`` or ``'bf16'``: what the image encoder computes in. Scores are float32 always.
        compile: Run the image encoder through ``torch.compile``; the first image of a window size then takes minutes.
        decode_memory_mb: Bound for the dense scores held at a time, whatever the number of classes.
        with_seg_logits: Return the class probabilities ``(K, H, W)`` too, as ``seg_logits``.
        data_preprocessor: Default: RGB, normalised as the CLIP weights want it. One that pads images is refused.
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
                 attention_layer: int = -1, cls_token_lambda: float = 0.0, logit_scale: float = 40, prob_thd: float = 0.0,
                 area_thd: Optional[float] = None, bg_idx: int = 0, refine: Optional[Mapping[str, Any]] = None,
                 slide_crop: int = 224, slide_stride: int = 112, pad_mode: str = 'center',
                 window_batch_size: Union[int, str] = 32, precision: str = 'fp32', compile: bool = False,
                 decode_memory_mb: float = 256, with_seg_logits: bool = False,
                 data_preprocessor: Optional[Mapping[str, Any]] = None, **switches: Any) -> None:
        check_keys('CLIPSegmentor', switches, {*signature(CLIPSegmentor).parameters,
                                               *signature(modules_from_switches).parameters} - {'switches'})
        self._check(cls_token_lambda, logit_scale, prob_thd, area_thd, slide_crop, slide_stride, pad_mode, window_batch_size,
                    precision, decode_memory_mb)
        clip = load_clip(clip_model, pretrained)
        super().__init__(build_data_preprocessor(clip, data_preprocessor))
        check_no_padding(self.data_preprocessor)
        apply = check_flag('apply_similarity_enhancement', apply_similarity_enhancement)
        similarity_cfg = check_dict('similarity_enhancement_cfg', similarity_enhancement_cfg)
        check_keys('similarity_enhancement_cfg', similarity_cfg, SIMILARITY_KEYS)
        if similarity_cfg and not apply:
            print_log(f'{similarity_enhancement_cfg=} has no effect: apply_similarity_enhancement is off', 'current')
        encoder = CompiledCLIPImageEncoder if check_flag('compile', compile) else CLIPImageEncoder
        self.image_encoder = encoder(clip.model.visual, model_type, ignore_residual, attention_cfg,
                                     similarity_cfg if apply else None, cls_source, attention_layer)
        self.image_encoder.to(PRECISIONS[precision])
        del clip.model.visual  # the image encoder owns it now
        self.text_encoder = TextEncoder(clip.model, clip.tokenizer, cache=pretrained is not None)
        self.post_processors = PostProcessorChain(modules_from_switches(**switches))
        self.refine = None if refine is None else build_checked(REFINERS, refine)
        self.templates = bundled_templates(prompt_templates)
        self.cls_token_lambda, self.logit_scale = cls_token_lambda, logit_scale
        self.prob_thd, self.area_thd, self.bg_idx = prob_thd, area_thd, bg_idx
        self.slide_crop, self.slide_stride, self.pad_mode = slide_crop, slide_stride, pad_mode
        self.window_batch_size, self.decode_memory_mb = window_batch_size, decode_memory_mb
        self.with_seg_logits = check_flag('with_seg_logits', with_seg_logits)
        self.set_classes(name_path)
        patch = max(self.image_encoder.patch_size)
        if 0 < slide_crop < patch:
            raise ValueError(f'slide_crop={slide_crop} is under one patch of {clip_model} ({patch} pixels); '
                             '0 takes the whole image')

    def set_classes(self, names: Union[str, Path, Sequence[str]]) -> None:
        """Change the vocabulary of a live model; ``names`` as ``name_path``."""
        classes = class_names(names)
        warn_of_one_class(names, classes)
        check_integer('bg_idx', self.bg_idx, 0, len(classes) - 1, f'there are {len(classes)} classes')
        self.vocabulary = vocabulary_name(names)
        self.synonyms = classes
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

        A patch that is not finite counts as a zero vector. The pixels whose score has a non-zero weight from such a patch have
        no class: their label is ``ignore_label(K)`` (255; 65535 for more than 255 classes), their probabilities are NaN, and
        the sample says in ``nonfinite_pixels`` how many they are. They count for no area of ``area_thd``. All other pixels have
        the labels that they would have with any finite values in those patches. ``refine`` does not spread the pixels without
        a class: it spreads scores in which such patches are zero, and takes NaN and Inf in the image for 0.

        Args:
            inputs: Normalised images, ``(B, 3, H, W)`` or a list of ``(3, H, W)`` of different sizes.
            data_samples: Their metadata; ``ori_shape`` and ``flip`` are honoured. Without it, labels have input size.

        Returns:
            The samples with ``pred_sem_seg`` ``(1, H, W)`` and, with ``with_seg_logits``, ``seg_logits (K, H, W)``; and the
            metadata ``nonfinite_pixels`` only where there are such pixels.
        """
        samples = [SegDataSample() for _ in inputs] if data_samples is None else data_samples
        if len(samples) != len(inputs):
            raise ValueError(f'{len(inputs)} images came with {len(samples)} data samples')
        sizes = [sample.get('ori_shape', image.shape[1:])[:2] for image, sample in zip(inputs, samples)]
        for sample, image, windows, size in zip(samples, inputs, self._window_patches(inputs), sizes):
            mirrored = _flipped_axes(sample)
            if self.with_seg_logits or self.area_thd is not None:
                probabilities = self._class_probabilities(image, windows, size).flip(mirrored)
                labels = self.label_map(probabilities, windows.nonfinite is not None)
            else:
                labels = self._labels(image, windows, size).flip(mirrored)
            sample.set_data(dict(pred_sem_seg=PixelData(data=labels.unsqueeze(0))))
            if self.with_seg_logits:
                sample.set_data(dict(seg_logits=PixelData(data=probabilities)))
            if windows.nonfinite is not None:
                self.note_nonfinite(sample)
        return samples

    def label_map(self, probabilities: Tensor, partial: bool) -> Tensor:
        """``label_map`` by the model's thresholds of ``probabilities (K, H, W)``; ``partial``, if some of them are NaN."""
        return (partial_label_map if partial else label_map)(probabilities, self.prob_thd, self.bg_idx, self.area_thd)

    def note_nonfinite(self, sample: SegDataSample) -> None:
        """Set ``nonfinite_pixels`` of a sample to the number of its pixels without a class, unless it is 0."""
        pixels = int((sample.pred_sem_seg.data == ignore_label(self.out_channels)).sum())
        if pixels:
            sample.set_metainfo(dict(nonfinite_pixels=pixels))

    def extract_feat(self, inputs: Tensor) -> DenseFeatures:
        """Embeddings of a batch of windows ``(B, 3, h, w)`` in CLIP's joint space."""
        tokens = self.image_encoder.tokens(inputs, with_attention=self.post_processors.needs_attention)
        tokens = self.post_processors(tokens, 'tokens')
        embeddings = self.image_encoder.project(tokens)
        return self.post_processors(embeddings, 'embeddings')

    def encode_decode(self, inputs: Tensor, batch_data_samples: Optional[List[SegDataSample]] = None) -> Tensor:
        """Class probabilities ``(B, K, H, W)`` of equally large images, in input size; NaN as ``predict`` says."""
        return torch.stack([self._class_probabilities(image, windows, tuple(image.shape[1:]))
                            for image, windows in zip(inputs, self._window_patches(inputs))])

    _forward = encode_decode

    def loss(self, inputs: Images, data_samples: Optional[List[SegDataSample]] = None) -> NoReturn:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError('CLIPSegmentor is training-free and has no loss: run it with tools/test.py')

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load weights, and forget the embeddings that others gave."""
        super()._load_from_state_dict(*args, **kwargs)
        self._query_embeddings = None

    def _window_patches(self, images: Images) -> List[ImagePatches]:
        """Per image where its windows lie, and what its patches are scored by, ``(windows, N, E)``."""
        if len(images) == 0:
            return []
        for image in images:
            if image.ndim != 3 or len(image) != 3:
                raise ValueError(f'an image must have shape (3, H, W), not {tuple(image.shape)}')
        layouts = [WindowLayout.plan(tuple(image.shape[1:]), self.slide_crop, self.slide_stride,
                                     self.image_encoder.patch_size, self.pad_mode) for image in images]
        windows = [layout.cut(image) for layout, image in zip(layouts, images)]
        return ImagePatches.checked(layouts, map_windows(self._unit_patches, windows, self.windows_per_pass(windows)))

    def windows_per_pass(self, windows: List[Tensor]) -> int:
        """How many of ``windows``, ``(n, 3, h, w)`` per image, go through the encoder at once."""
        if isinstance(self.window_batch_size, str):
            return self.image_encoder.windows_that_fit(max(windows, key=lambda batch: batch[0].numel()))
        return self.window_batch_size

    def _unit_patches(self, windows: Tensor) -> Tensor:
        """What a product with a text embedding turns into the score of a patch, ``(B, N, E)`` float32."""
        features = self.extract_feat(windows)
        patches = _unit(features.patches)
        if self.cls_token_lambda:
            patches = patches + self.cls_token_lambda * _unit(features.cls_token).unsqueeze(1)
        if features.attn is None:
            return patches
        unranked = features.attn.diagonal(dim1=1, dim2=2).isnan().any(dim=1)  # a module that ranks patches by it loses NaN
        return patches.masked_fill_(unranked.view(-1, 1, 1), torch.nan)

    def _labels(self, image: Tensor, windows: ImagePatches, size: Tuple[int, int]) -> Tensor:
        """Label map ``(H, W)`` of ``size``, without the probabilities of all classes."""
        with full_precision(windows.patches):
            query, probability = best_queries(windows.patches, self.query_embeddings, windows.layout, size, self.logit_scale,
                                              self.prob_thd > 0, self.decode_memory_mb, self._refine(image, size))
        labels = self.query_to_class[query]
        if probability is not None:
            labels.masked_fill_(~(probability >= self.prob_thd), self.bg_idx)
        if windows.nonfinite is not None:
            labels.masked_fill_(windows.undefined_pixels(size), ignore_label(self.out_channels))
        return labels

    def _class_probabilities(self, image: Tensor, windows: ImagePatches, size: Tuple[int, int]) -> Tensor:
        """``(K, *size)``: merge the windows, refine, softmax."""
        with full_precision(windows.patches):
            scores = merge_windows(windows.patches @ self.query_embeddings.float().t(), windows.layout, size)
            refine = self._refine(image, size)
            if refine is not None:
                scores = refine(scores)
            probabilities = class_probabilities(scores, self.query_to_class, self.out_channels, self.logit_scale)
        if windows.nonfinite is None:
            return probabilities
        return probabilities.masked_fill(windows.undefined_pixels(size), torch.nan)

    def _refine(self, image: Tensor, size: Tuple[int, int]) -> Optional[Refine]:
        """What refines dense scores of ``image`` in ``size``; NaN and Inf in the image count as 0."""
        if self.refine is None:
            return None
        finite = image.nan_to_num(0, 0, 0).unsqueeze(0)
        return self.refine.of_image(F.interpolate(finite, size=size, mode='bilinear', align_corners=False)[0])

    @staticmethod
    def _check(cls_token_lambda: float, logit_scale: float, prob_thd: float, area_thd: Optional[float], slide_crop: int,
               slide_stride: int, pad_mode: str, window_batch_size: Union[int, str], precision: str,
               decode_memory_mb: float) -> None:
        check_number('cls_token_lambda', cls_token_lambda, -math.inf)
        check_number('logit_scale', logit_scale, above=True)
        check_number('logit_scale * (1 + |cls_token_lambda|)', logit_scale * (1 + abs(cls_token_lambda)), 0, LARGEST_LOGIT)
        check_number('prob_thd', prob_thd, 0, 1)
        if area_thd is not None:
            check_number('area_thd', area_thd, 0, 1)
        if check_integer('slide_crop', slide_crop, 0, meaning='pixels, or 0 for the whole image'):
            check_integer('slide_stride', slide_stride, 1, slide_crop, f'slide_crop={slide_crop}: no pixel is left out')
        check_choice('pad_mode', pad_mode, PAD_MODES)
        if isinstance(window_batch_size, str):
            check_choice('window_batch_size', window_batch_size, ['auto'])
        else:
            check_integer('window_batch_size', window_batch_size, 1, meaning="or 'auto'")
        check_choice('precision', precision, list(PRECISIONS))
        check_number('decode_memory_mb', decode_memory_mb, above=True)


def _unit(vectors: Tensor) -> Tensor:
    """``F.normalize(vectors.float(), dim=-1)``, but NaN where a length overflows float32: it would give a zero vector."""
    vectors = vectors.float()
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / length.clamp_min(1e-12).masked_fill_(length.isinf(), torch.nan)


def _flipped_axes(sample: SegDataSample) -> Tuple[int, ...]:
    """Axes along which test-time augmentation has mirrored the image of ``sample``."""
    direction = sample.get('flip_direction') if sample.get('flip') else None
    return {None: (), 'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}[direction]
