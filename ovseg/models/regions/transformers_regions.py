"""Region maps of SAM2, Mask2Former, EoMT and other networks of the package transformers."""
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ContextManager, Iterable, List

import torch
from huggingface_hub.constants import HF_HUB_CACHE
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg.digests import file_digest
from ovseg.extras import missing_package
from ovseg.models.frozen import FrozenModule
from ovseg.models.hub import cache_if_unreachable
from ovseg.models.regions.regions import Regions
from ovseg.registry import REGIONS
from ovseg.utils import check_integer, check_number, one_line, quoted, shown

POINTS_PER_BATCH = 64
MOST_OVERLAP = 0.7  # IoU of the boxes of two masks of SAM; beyond it the one of lower quality is dropped
SAM, PANOPTIC = 'mask generation', 'panoptic segmentation'


@REGIONS.register_module()
@dataclass(frozen=True)
class TransformersRegions(Regions):
    """Masks of a network of ``transformers``, small ones painted over large ones.

    SAM, SAM2 and their like give a mask for each point of a grid. Mask2Former, EoMT and other networks for panoptic
    segmentation give segments, whose classes are not used; they are trained with segmentation labels.

    Args:
        model: A name on the Hugging Face hub or a folder, e.g. ``'facebook/sam2-hiera-large'``,
            ``'facebook/mask2former-swin-large-coco-panoptic'``, ``'tue-mps/coco_panoptic_eomt_large_640'``. Weights are read
            from safetensors files alone.
        points_per_side: SAM: points along each side of the grid.
        pred_iou_thresh: SAM: masks with a lower predicted IoU are dropped.
        stability_score_thresh: SAM: masks that change more with the threshold of their logits are dropped.
        threshold: Panoptic: segments with a lower probability are dropped.

    Raises:
        ValueError: a number out of range.
    """
    model: str = 'facebook/sam2-hiera-large'
    points_per_side: int = 8
    pred_iou_thresh: float = 0.4
    stability_score_thresh: float = 0.4
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise ValueError(f'TransformersRegions model={shown(self.model)} must be a name on the hub, or a folder')
        check_integer('TransformersRegions points_per_side', self.points_per_side, 1)
        for key in ('pred_iou_thresh', 'stability_score_thresh', 'threshold'):
            check_number(f'TransformersRegions {key}', getattr(self, key), 0, 1)

    def check(self) -> None:
        """See ``Regions``.

        Raises:
            FileNotFoundError: the folder has no config, or that of the hub cannot be had.
            ImportError: transformers is not installed.
            ValueError: the network is of another kind.
        """
        self._kind()

    def digest(self) -> str:
        """Digest of the files of a folder; the name of a network on the hub."""
        folder = Path(self.model)
        if not folder.is_dir():
            return self.model
        files = sorted([*folder.glob('*.json'), *folder.glob('*.safetensors')])
        return sha256(repr([(path.name, file_digest(path)) for path in files]).encode()).hexdigest()

    def load(self) -> '_Masks':
        """See ``Regions``."""
        transformers, kind = _transformers(), self._kind()
        network = transformers.AutoModelForMaskGeneration if kind == SAM else transformers.AutoModelForUniversalSegmentation
        try:
            with self._hub():
                processor = transformers.AutoImageProcessor.from_pretrained(self.model)
                masks = network.from_pretrained(self.model, use_safetensors=True)
            return (_SAM if kind == SAM else _Panoptic)(masks, processor)
        except OSError as error:
            raise self._missing('weights', error) from error

    def __call__(self, network: '_Masks', rgb: Tensor, sample: SegDataSample) -> Tensor:
        """See ``Regions``."""
        image = (rgb.clamp(0, 1).nan_to_num() * 255).round().to(torch.uint8)
        return network(image, self)

    def _kind(self) -> str:
        transformers = _transformers()
        try:
            with self._hub():
                config = transformers.AutoConfig.from_pretrained(self.model)
        except (OSError, ValueError) as error:
            raise self._missing('config.json', error) from error
        for kind, networks in ((SAM, transformers.MODEL_FOR_MASK_GENERATION_MAPPING),
                               (PANOPTIC, transformers.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING)):
            if type(config) in networks:
                return kind
        raise ValueError(f'TransformersRegions model={shown(self.model)} is a {config.model_type}, and a network for {SAM} '
                         f'(sam2) or {PANOPTIC} (mask2former, eomt) is needed')

    def _hub(self) -> ContextManager[None]:
        return nullcontext() if Path(self.model).is_dir() else cache_if_unreachable()

    def _missing(self, what: str, error: Exception) -> FileNotFoundError:
        return FileNotFoundError(f'TransformersRegions model={shown(self.model)}: its {what} cannot be read as a folder, nor '
                                 f'from the hub or its cache {quoted(HF_HUB_CACHE)}; with a network: hf download '
                                 f'{quoted(self.model)} ({one_line(error)})')


class _Masks(FrozenModule):
    """A network of transformers with its image processor: the region map ``(H, W)`` of an image ``(3, H, W)`` uint8."""

    def __init__(self, network: Any, processor: Any) -> None:
        super().__init__()
        self.network, self.processor = network, processor
        self.freeze()

    @torch.no_grad()
    def forward(self, image: Tensor, settings: TransformersRegions) -> Tensor:
        return paint(self.masks(image, settings), image)

    def masks(self, image: Tensor, settings: TransformersRegions) -> List[Tensor]:
        """Masks ``(H, W)`` bool."""
        raise NotImplementedError


class _SAM(_Masks):
    """One mask for each point of a grid, filtered as SAM's automatic mask generator does."""

    def masks(self, image: Tensor, settings: TransformersRegions) -> List[Tensor]:
        processor, device = self.processor, image.device
        side = processor.size.get('longest_edge', processor.size.get('height'))
        boxes, points, crops, labels = processor.generate_crop_boxes(image.cpu(), side, 0, 0, settings.points_per_side, 1)
        inputs = processor(images=crops, return_tensors='pt')
        embeddings = self.network.get_image_embeddings(inputs['pixel_values'].to(device, self.network.dtype))
        sizes, reshaped = inputs['original_sizes'].tolist(), inputs.get('reshaped_input_sizes')
        kept: List[Any] = []
        for some, of_some in zip(points.split(POINTS_PER_BATCH, dim=1), labels.split(POINTS_PER_BATCH, dim=1)):
            found = self.network(image_embeddings=embeddings, input_points=some.to(device), input_labels=of_some.to(device),
                                 multimask_output=False)
            logits, = processor.post_process_masks(
                found.pred_masks, sizes, binarize=False,
                **({} if reshaped is None else dict(reshaped_input_sizes=reshaped.tolist())))
            kept.append(processor.filter_masks(logits, found.iou_scores[0], sizes[0], boxes[0].to(device),
                                               settings.pred_iou_thresh, settings.stability_score_thresh))
        runs, scores, places = ([mask for each in kept for mask in each[0]],
                                torch.cat([each[1] for each in kept]), torch.cat([each[2] for each in kept]))
        masks = processor.post_process_for_mask_generation(runs, scores, places, MOST_OVERLAP)[0]
        return [torch.as_tensor(mask, dtype=torch.bool) for mask in masks]


class _Panoptic(_Masks):
    """The segments of a panoptic segmentation."""

    def masks(self, image: Tensor, settings: TransformersRegions) -> List[Tensor]:
        inputs = self.processor(images=image.cpu(), return_tensors='pt')
        outputs = self.network(pixel_values=inputs['pixel_values'].to(image.device, self.network.dtype))
        found, = self.processor.post_process_panoptic_segmentation(
            outputs, threshold=settings.threshold, target_sizes=[tuple(image.shape[1:])])
        return [found['segmentation'] == segment['id'] for segment in found['segments_info']]


def paint(masks: Iterable[Tensor], image: Tensor) -> Tensor:
    """Masks ``(H, W)`` bool as a map int64 on the device of ``image (3, H, W)``: 0 where none is, small over large ones."""
    regions = torch.zeros(image.shape[1:], dtype=torch.int64)
    for number, mask in enumerate(sorted((mask.cpu() for mask in masks), key=lambda mask: -int(mask.sum())), 1):
        regions[mask] = number
    return regions.to(image.device)


def _transformers() -> Any:
    """The package.

    Raises:
        MissingPackageError: it is not installed; says how to install it.
    """
    try:
        import transformers
    except ImportError as error:
        raise missing_package('TransformersRegions', 'transformers', 'regions') from error
    return transformers
