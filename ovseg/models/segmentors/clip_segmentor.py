"""Training-free open-vocabulary segmentation with a frozen CLIP."""
from itertools import zip_longest
from pathlib import Path
from typing import Any, Dict, List, Mapping, NoReturn, Optional, Sequence, Tuple, Union, cast

import torch
from mmengine.logging import print_log
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from ovseg.inference.decode import patch_scores
from ovseg.inference.nonfinite import ImagePatches, exceptions, ignore_label
from ovseg.inference.region_vote import vote
from ovseg.inference.windows import WindowLayout, Windows, map_windows
from ovseg.models.class_texts import ClassTexts
from ovseg.models.data_preprocessor import build_data_preprocessor, check_no_padding, mean_and_std
from ovseg.models.decoder import Decoder
from ovseg.models.dense import DenseEncoder, WindowBatch
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.guides import Guide, GuideFeatures, common_patch_size, load_guides
from ovseg.models.mirrored_axes import mirrored_axes
from ovseg.models.patch_scores import PatchScores
from ovseg.models.post_processors import PostProcessorChain
from ovseg.models.regions.regions import region_map, resize_regions
from ovseg.models.segmentors.batch_size import windows_that_fit
from ovseg.models.segmentors.components import Components
from ovseg.models.segmentors.decoded_samples import add_decoded
from ovseg.models.segmentors.switches import COMPONENTS, DEFAULTS, EXAMPLES, NOT_GIVEN, SETTINGS, ignore_mmseg, nested_model
from ovseg.models.towers import LoadedCLIP
from ovseg.models.towers.loading import load_checked
from ovseg.models.upsamplers import LinearUpsampler, UpsampledPatches, Upsampler, upsample
from ovseg.precision import full_precision
from ovseg.utils import check_keys, shown
from ovseg.vocabulary import Vocabulary

Images = Union[Tensor, Sequence[Tensor]]

CLASSES: Dict[str, Any] = dict(image_encoder=DenseEncoder, post_processors=PostProcessorChain, windows=Windows,
                               decoder=Decoder, upsampler=(Upsampler, type(None)))


@MODELS.register_module()
class CLIPSegmentor(BaseSegmentor):
    """Windows of an image, dense encoder, post-processors, upsampler, decoder: a label map of any class names.

    Every component is a config dict, or an object of its class. They are checked before weights are read.

    Args:
        clip: ``dict(name=..., pretrained=...)``, see ``load_clip``; or a ``LoadedCLIP``, which is shared and not changed.
        vocabulary: See ``Vocabulary``.
        image_encoder: A type in ``DENSE_ENCODERS`` with its keywords; without a type, ``LastBlockEncoder``.
        post_processors: See ``PostProcessorChain``.
        upsampler: A type in ``UPSAMPLERS`` with its keywords; None for none.
        windows: See ``Windows``.
        decoder: See ``Decoder``.
        data_preprocessor: Default: RGB, normalised as the CLIP weights want it. One that pads images is refused.
        init_cfg: Must be None: the weights are those of ``clip``.
        train_cfg: Ignored; mmseg's tools set it in every model.
        test_cfg: Ignored, as ``train_cfg``.
        switches: The flat form of the same settings, see ``switches.py``; ``pretrained=None`` beside ``clip`` is ignored.

    Raises:
        ValueError: an unknown key or name, a number out of range, or both forms of one setting; the message lists what is
            allowed.
    """

    class_of_text: Tensor
    _text_embeddings: Optional[Tensor]

    def __init__(self, clip: Union[Mapping[str, Any], LoadedCLIP, None] = None,
                 vocabulary: Union[Mapping[str, Any], Vocabulary, None] = None,
                 image_encoder: Union[Mapping[str, Any], str, DenseEncoder, None] = None,
                 post_processors: Union[Sequence[Any], PostProcessorChain, None] = None,
                 upsampler: Union[Mapping[str, Any], str, Upsampler, None] = None,
                 windows: Union[Mapping[str, Any], Windows, None] = None,
                 decoder: Union[Mapping[str, Any], Decoder, None] = None, data_preprocessor: Any = None,
                 init_cfg: None = None, train_cfg: Any = NOT_GIVEN, test_cfg: Any = NOT_GIVEN, **switches: Any) -> None:
        given = dict(clip=clip, vocabulary=vocabulary, image_encoder=image_encoder, post_processors=post_processors,
                     upsampler=upsampler, windows=windows, decoder=decoder)
        ignore_mmseg(switches, clip, train_cfg)
        cfg = {**DEFAULTS, **nested_model({key: value for key, value in given.items() if value is not None}, switches)}
        if init_cfg is not None:
            raise ValueError(f'init_cfg={shown(init_cfg)} must be None: the weights are those of clip')
        for key in ('clip', 'vocabulary'):
            if key not in cfg:
                raise ValueError(f'CLIPSegmentor has no {key!r}, e.g. {EXAMPLES[key]}')
        components = Components.build(cfg)
        dtype = components.image_encoder.dtype
        loaded = load_checked(cfg['clip'], components.check, dtype)
        super().__init__(build_data_preprocessor(loaded, data_preprocessor))
        check_no_padding(self.data_preprocessor)
        self.clip, self.tower, self.text_encoder = loaded, loaded.image_tower_in(dtype), loaded.text_encoder
        self.image_encoder, self.post_processors = components.image_encoder, components.post_processors
        self.upsampler, self.windows, self.decoder = components.upsampler, components.windows, components.decoder
        self.networks = load_guides(components.guides, loaded, self.tower)
        regions = self.image_encoder.regions
        self.region_network = None if regions is None else loaded.guide_network(regions)
        networks = (network for network in (*self.networks.values(), self.region_network) if network is not None)
        self.guide_networks = nn.ModuleList(network.to(self.device) for network in networks if network is not self.tower)
        if self.upsampler is not None:
            self.upsampler.load(self.tower)
            self.upsampler.to(self.device)
        for name, values in zip(('mean', 'std'), mean_and_std(self.data_preprocessor)):
            self.register_buffer(name, values.to(self.device), persistent=False)
        self._use(components.vocabulary)

    def variant(self, **components: Any) -> 'CLIPSegmentor':
        """A segmentor of the same weights, which are not loaded again, with other components.

        Args:
            components: ``vocabulary, image_encoder, post_processors, upsampler, windows, decoder``: each replaces this
                segmentor's whole.

        Raises:
            ValueError: as the constructor.
        """
        check_keys('variant', components, [key for key in COMPONENTS if key != 'clip'])
        same = {key: getattr(self, key) for key in COMPONENTS}
        other = type(self)(**{**same, **components}, data_preprocessor=self.data_preprocessor).train(self.training)
        if 'vocabulary' not in components:
            for name in ('_words', '_chosen_for', 'class_of_text', '_text_embeddings', '_loads'):
                setattr(other, name, getattr(self, name))
        return other

    def set_classes(self, names: Union[str, Path, Sequence[str]]) -> None:
        """Change the class names of a live model; see ``Vocabulary``. There are no automatic background words then."""
        vocabulary = self.vocabulary.with_names(names)
        self.decoder.check(len(vocabulary.synonyms))
        self._use(vocabulary)

    def _use(self, vocabulary: Vocabulary) -> None:
        super().__setattr__('vocabulary', vocabulary)
        self._chosen_for: Optional[Tuple[int, int]] = None
        self._take(vocabulary)

    def _take(self, words: Vocabulary) -> None:
        self._words, self._loads = words, self.text_encoder.loads
        self.register_buffer('class_of_text', torch.tensor(words.class_of_name, device=self.device), persistent=False)
        self.register_buffer('_text_embeddings', None, persistent=False)

    @property
    def words(self) -> Vocabulary:
        """The vocabulary with its automatic background words, which are chosen at first use.

        Raises:
            ValueError: there are too few words to choose from.
        """
        key = (self.text_encoder.loads, self.decoder.bg_idx)
        if self.vocabulary.background is not None and self._chosen_for != key:
            self._take(self.vocabulary.with_background(self.text_encoder.encode, self.decoder.bg_idx))
            self._chosen_for = key
            print_log(f'background words of class {self.decoder.bg_idx}: {", ".join(self._words.background_words)}', 'current')
        return self._words

    def use_texts(self, words: Vocabulary, rows: Tensor) -> None:
        """Take ``words`` and ``text_embeddings`` of an equal segmentor in another process."""
        self._take(words)
        self._chosen_for = (self.text_encoder.loads, self.decoder.bg_idx)
        self.text_embeddings = rows

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute, unless it is a setting: those are attributes of components, and checked there."""
        if name in SETTINGS:
            raise AttributeError(f'{name} cannot be set: it is {SETTINGS[name]}, a setting of a component; '
                                 f'variant({SETTINGS[name].split(".")[0]}=...) gives another segmentor of the same weights')
        if name == 'vocabulary':
            raise AttributeError('vocabulary cannot be set: use set_classes(names) or variant(vocabulary=...)')
        if name in CLASSES and not isinstance(value, CLASSES[name]):
            raise ValueError(f'{name}={shown(value)} is no component of that kind: use variant({name}=...)')
        if name == 'decoder' and 'vocabulary' in self.__dict__:
            value.check(self.out_channels)
        super().__setattr__(name, value)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.tower.parameters()).device

    @property
    def class_names(self) -> List[str]:
        """The first name of each class."""
        return self.vocabulary.class_names

    @property
    def out_channels(self) -> int:
        """Number of classes K, under mmseg's name."""
        return len(self.vocabulary.synonyms)

    @property
    def text_embeddings(self) -> Tensor:
        """Unit text embeddings ``(Q, E)`` of all names, encoded at first use, where the model then is. Others may be set."""
        words = self.words
        if self._text_embeddings is None or self._loads != self.text_encoder.loads:
            self._loads = self.text_encoder.loads
            self._text_embeddings = self.text_encoder.encode(words.all_names, words.sentences)
        return self._text_embeddings

    @text_embeddings.setter
    def text_embeddings(self, rows: Tensor) -> None:
        if not isinstance(rows, Tensor) or not rows.isfinite().all():
            raise ValueError(f'text_embeddings={type(rows).__name__} must be a tensor of finite numbers')
        if rows.shape != (len(self.words.all_names), self.tower.output_width):
            raise ValueError(f'text_embeddings of shape {tuple(rows.shape)} must have shape '
                             f'({len(self.words.all_names)}, {self.tower.output_width}), a row for each name')
        self._text_embeddings, self._loads = rows.to(self.device, torch.float32), self.text_encoder.loads

    @property
    def texts(self) -> ClassTexts:
        """The text embeddings with the class of each."""
        return ClassTexts(self.text_embeddings, self.class_of_text, self.out_channels)

    def predict(self, inputs: Images, data_samples: Optional[List[SegDataSample]] = None) -> List[SegDataSample]:
        """Label maps in the images' original size.

        A patch that is not finite counts as a zero vector. The pixels whose score has a non-zero weight from such a patch have
        no class: their label is ``ignore_label(K)`` (255; 65535 for more than 255 classes), their probabilities are NaN, and
        the sample says in ``nonfinite_pixels`` how many they are, and in ``undefined (1, H, W)`` bool which ones. They count
        for no area of ``area_thd``. All other pixels have the labels that they would have with any finite values in those
        patches. A refiner does not spread the pixels without a class: it spreads scores in which such patches are zero, and
        takes NaN and Inf in the image for 0. A module of the stage ``'scores'`` is given scores of 0 for such patches; if it
        mixes patches, they reach other pixels.

        Args:
            inputs: Normalised images, ``(B, 3, H, W)`` or a list of ``(3, H, W)`` of different sizes.
            data_samples: Their metadata; ``ori_shape`` and ``flip`` are honoured. Without it, labels have input size.

        Returns:
            The samples with ``pred_sem_seg`` ``(1, H, W)``; with ``with_seg_logits``, ``seg_logits (K, H, W)``; with
            ``with_confidence``, ``confidence (2, H, W)`` of the labels before thresholds and the vote of regions, see
            ``Decoded``; and only where there are such pixels, ``nonfinite_pixels`` and ``undefined``.
        """
        samples = [SegDataSample() for _ in inputs] if data_samples is None else data_samples
        if len(samples) != len(inputs):
            raise ValueError(f'{len(inputs)} images came with {len(samples)} data samples')
        return self.decode(inputs, samples, self.window_patches(inputs, samples))

    def decode(self, inputs: Images, samples: List[SegDataSample], patches: Sequence[ImagePatches]) -> List[SegDataSample]:
        """The second half of ``predict``, behind ``window_patches``, which are not changed."""
        for sample, image, windows in zip(samples, inputs, patches):
            mirrored = mirrored_axes(sample)
            size = sample.get('ori_shape', image.shape[1:])[:2]
            scored, texts = self.scored(windows)
            decoded = self.decoder(self.decoder_image(image), scored, texts, size)
            if self.image_encoder.region_vote and windows.regions is not None:
                regions = resize_regions(windows.regions, size)
                decoded = decoded._replace(labels=self.vote(decoded.labels, regions))
                sample.set_data(dict(regions=PixelData(data=regions.flip(mirrored).unsqueeze(0))))
            add_decoded(sample, decoded.flip(mirrored))
        return samples

    def vote(self, labels: Tensor, regions: Tensor) -> Tensor:
        """See ``region_vote.vote``; pixels without a class have no vote."""
        return vote(labels, regions, ignore_label(self.out_channels))

    def window_patches(self, images: Images, samples: Optional[Sequence[SegDataSample]] = None) -> List[ImagePatches]:
        """Per image the layout of its windows, and the vectors that its patches are scored by, ``(windows, N, E)``.

        Args:
            images: As in ``predict``.
            samples: Their metadata, which sources of region maps may need.
        """
        if len(images) == 0:
            return []
        for image in images:
            if image.ndim != 3 or len(image) != 3:
                raise ValueError(f'an image must have shape (3, H, W), not {tuple(image.shape)}')
        layouts = [self.plan((image.shape[1], image.shape[2])) for image in images]
        windows = [layout.cut(image) for layout, image in zip(layouts, images)]
        maps = self._region_maps(images, samples or [SegDataSample() for _ in images])
        cut = [layout.cut(resize_regions(regions, layout.size).unsqueeze(0))[:, 0] for layout, regions in zip(layouts, maps)]
        results = map_windows(self._score_vectors, windows, self.windows_per_pass(windows), *([cut] if cut else []))
        if isinstance(self.upsampler, LinearUpsampler):
            upsampled = [UpsampledPatches.of_parts(self.upsampler, *parts) for parts in results]
            layouts = [layout.on_grid(self.upsampler.finer_grid(each.grid_size)) for layout, each in zip(layouts, upsampled)]
            nonfinite = exceptions([each.lengths.isfinite() for each in upsampled])
            return [ImagePatches(layout, patches, bad, regions=regions)
                    for layout, patches, bad, regions in zip_longest(layouts, upsampled, nonfinite, maps)]
        layouts = [layout.on_grid((grid.shape[1], grid.shape[2])) for layout, (grid, *_) in zip(layouts, results)]
        checked = ImagePatches.checked(layouts, [grid.flatten(1, 2) for grid, *_ in results])
        return [patches._replace(guides=self._guide_features(grids), regions=regions)
                for patches, (_, *grids), regions in zip_longest(checked, results, maps)]

    def _region_maps(self, images: Images, samples: Sequence[SegDataSample]) -> List[Tensor]:
        """The region map of each image, ``(H', W')`` int64 of any size; none where the dense encoder does not need them."""
        source = self.image_encoder.regions
        if source is None:
            return []
        return [region_map(source, self.region_network, image * self.std + self.mean, sample)
                for image, sample in zip(images, samples)]

    def scored(self, windows: ImagePatches) -> Tuple[ImagePatches, ClassTexts]:
        """Input of the decoder, made of ``window_patches``.

        Without modules of the stage ``'scores'``: the vectors, and the text embeddings. Where each of them works on the scores
        of a text alone: ``RescoredPatches``, and the text embeddings. Else the scores that leave them, ``(windows, N, Q)``, and
        no embeddings.
        """
        texts = self.texts
        if not self.post_processors.of_scores:
            return windows, texts
        if self.post_processors.textwise:
            with full_precision(self.text_embeddings):
                rescored = self.post_processors.rescored(cast(Tensor, windows.patches), windows.layout, windows.guides)
            return windows._replace(patches=rescored), texts
        with full_precision(self.text_embeddings):
            scores = patch_scores(windows.patches, texts.embeddings)
        given = PatchScores(scores, windows.layout, texts.class_of, texts.num_classes)
        result = self.post_processors.rescore(given, windows.guides)
        return windows.with_scores(result.scores), texts._replace(embeddings=None)

    def decoder_image(self, image: Tensor) -> Tensor:
        """A normalised image ``(3, h, w)`` as the decoder's refiner wants it."""
        return image * self.std + self.mean if self.decoder.wants_rgb else image

    def plan(self, image_size: Tuple[int, int]) -> WindowLayout:
        """The windows of an image of ``(height, width)`` pixels, padded to the patches of the CLIP and of the guides, with the
        grid of the CLIP.
        """
        patch_size = self.tower.patch_size
        layout = self.windows.plan(image_size, common_patch_size(patch_size, self.networks))
        rows, columns = ((axis.length + sum(axis.pad)) // patch for axis, patch in zip((layout.rows, layout.cols), patch_size))
        return layout.on_grid((rows, columns))

    def _score_vectors(self, windows: Tensor, regions: Optional[Tensor] = None) -> List[Tensor]:
        """The vectors that the patches of a batch of windows are scored by, on their grid: ``(B, h, w, E)``; and the features
        ``(B, h', w', C)`` of each guide of ``_guide_features``. Or the parts of ``UpsampledPatches``.
        """
        batch = self.batch(windows, regions)
        if isinstance(self.upsampler, LinearUpsampler):
            features = self._coarse(batch)
            return UpsampledPatches.parts(self.upsampler, features, batch.rgb, self.decoder.window_shift(features))
        features = self.embed(batch)
        guides = [batch.guide(guide) for guide in dict.fromkeys(self.post_processors.guides)]
        return [self.decoder.score_vectors(features).unflatten(1, features.grid_size),
                *(guide.patches.unflatten(1, guide.grid_size) for guide in guides)]

    def _guide_features(self, grids: Sequence[Tensor]) -> Dict[Guide, GuideFeatures]:
        """The guides of modules of the stage ``'scores'``, with their features ``(windows, h', w', C)`` of an image."""
        return {guide: GuideFeatures(grid.flatten(1, 2), (grid.shape[1], grid.shape[2]))
                for guide, grid in zip(dict.fromkeys(self.post_processors.guides), grids)}

    def embed(self, windows: Union[Tensor, WindowBatch]) -> DenseFeatures:
        """Cleaned embeddings of width E of normalised windows ``(B, 3, h, w)``, in CLIP's joint space, upsampled."""
        batch = self.batch(windows)
        features = self._coarse(batch)
        return features if self.upsampler is None else upsample(self.upsampler, features, batch.rgb)

    def _coarse(self, batch: WindowBatch) -> DenseFeatures:
        """``embed`` without the upsampler."""
        features = self.post_processors(self.tokens(batch), 'tokens')
        return self.post_processors(self.image_encoder.project(self.tower, features), 'embeddings')

    extract_feat = embed

    def batch(self, windows: Union[Tensor, WindowBatch], regions: Optional[Tensor] = None) -> WindowBatch:
        """Normalised windows ``(B, 3, h, w)`` with what encoder, guides and upsampler need; a batch is returned as it is.

        Args:
            windows: The windows, or a batch.
            regions: Their region maps ``(B, h, w)``, where the dense encoder needs them.

        Raises:
            ValueError: the dense encoder needs region maps, and there are none.
        """
        if isinstance(windows, WindowBatch):
            return windows
        if regions is None and self.image_encoder.regions is not None:
            raise ValueError(f'{type(self.image_encoder).__name__} needs region maps of windows: batch(windows, regions)')
        texts = self.texts if self.image_encoder.needs_texts else None
        return WindowBatch(windows, self.mean, self.std, self.networks, texts, regions)

    def tokens(self, windows: Union[Tensor, WindowBatch]) -> DenseFeatures:
        """Features of width D of normalised windows ``(B, 3, h, w)``, as the dense encoder gives them."""
        return self.image_encoder.tokens(self.tower, self.batch(windows), with_attention=self.post_processors.needs_attention)

    def encode_decode(self, inputs: Tensor, batch_data_samples: Optional[List[SegDataSample]] = None) -> Tensor:
        """Class probabilities ``(B, K, H, W)`` of equally large images, in input size; NaN as ``predict`` says."""
        size = (inputs.shape[2], inputs.shape[3])
        return torch.stack([self.decoder.probabilities(self.decoder_image(image), *self.scored(patches), size)
                            for image, patches in zip(inputs, self.window_patches(inputs, batch_data_samples))])

    _forward = encode_decode

    def loss(self, inputs: Images, data_samples: Optional[List[SegDataSample]] = None) -> NoReturn:
        """Refuse training.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError('CLIPSegmentor is training-free and has no loss: evaluate it with ovseg test')

    def windows_per_pass(self, windows: List[Tensor]) -> int:
        """Number of windows, of ``(n, 3, h, w)`` per image, that go through the encoder at once.

        ``'auto'`` takes what half of a GPU's free memory holds, and 32 on other devices, where larger batches are not faster.
        """
        if not isinstance(self.windows.batch_size, str):
            return self.windows.batch_size
        return windows_that_fit(max(windows, key=lambda batch: batch[0].numel()), self.tower, self.networks)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load weights, and clear the embeddings and copies of former ones."""
        super()._load_from_state_dict(*args, **kwargs)
        self.clip = self.clip.with_tower(self.tower)
