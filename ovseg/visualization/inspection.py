"""Intermediate results of a ``CLIPSegmentor``, for figures."""
from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence, Tuple, Type

import numpy as np
import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from ovseg.inference.decode import patch_scores
from ovseg.inference.windows import AxisWindows, WindowLayout
from ovseg.models import CLIPSegmentor, DenseFeatures
from ovseg.models.class_texts import ClassTexts
from ovseg.models.dense import LastBlockEncoder, project
from ovseg.models.dense.last_block_encoder import enter_last_block, leave_last_block
from ovseg.models.post_processors import CTD, GlobalDebias, OutlierSuppression, PostProcessor
from ovseg.models.post_processors.outlier_detectors import DETECTORS
from ovseg.models.post_processors.outlier_suppression import outlier_mask
from ovseg.models.post_processors.post_processor import cosine
from ovseg.models.segmentors.diagnosis import explain_nonfinite
from ovseg.models.towers import ImageTower
from ovseg.registry import ATTENTIONS
from ovseg.utils import registered, shown

AS_CONFIGURED = 'as configured'

Points = Sequence[Tuple[int, int]]


class WindowInspection:
    """Intermediate results of one window: of those that the model cuts the image into, the one in whose middle the points lie.

    A module that is off is shown with its defaults, at the end of its stage.

    Args:
        segmentor: The model.
        inputs: The image as the test pipeline leaves it, ``(3, h, w)`` uint8 BGR.
        points: Row and column of pixels of the original image.
        ori_shape: Height and width of the original image.

    Attributes:
        image: The window, ``(H, W, 3)`` uint8 RGB, exactly under its patches; padding is black.
        grid_size: Rows and columns of its patches.
        patches: Row and column of the patch of each point.

    Raises:
        ValueError: a point is outside the image, or no window holds all points.
    """

    def __init__(self, segmentor: CLIPSegmentor, inputs: Tensor, points: Points, ori_shape: Tuple[int, int]) -> None:
        encoder, patch_size = segmentor.image_encoder, segmentor.tower.patch_size
        if not isinstance(encoder, LastBlockEncoder):
            raise ValueError(f'an inspection needs a LastBlockEncoder, and the model has {type(encoder).__name__}')
        layout = segmentor.plan((inputs.shape[1], inputs.shape[2]))
        window, self.patches = _locate(layout, patch_size, points, ori_shape)
        self.grid_size = (layout.rows.cells, layout.cols.cells)
        height, width = (cells * patch for cells, patch in zip(self.grid_size, patch_size))
        self.image = layout.cut(inputs[[2, 1, 0]])[window, :, :height, :width].permute(1, 2, 0).cpu().numpy()
        self._chain = segmentor.post_processors
        self._run(encoder, segmentor.tower, layout.cut(_preprocessed(segmentor, inputs))[window:window + 1])

    @torch.no_grad()
    def _run(self, encoder: LastBlockEncoder, tower: ImageTower, window: Tensor) -> None:
        """The window ``(1, 3, H, W)`` through encoder and chain, with all intermediate results kept."""
        mapping = LastBlockEncoder(similarity={**(encoder.similarity or {}), 'similarity_weight': 1.0})
        bias = enter_last_block(mapping, tower, window, with_attention=False).bias
        patches = slice(int(tower.has_cls), None)
        self._similarity = bias[0, 0, patches, patches] if bias is not None else window.new_empty(0)
        entered = enter_last_block(encoder, tower, window, with_attention=True)
        self._heads, self._first_patch = (entered.q, entered.k, entered.v, entered.grid_size), int(tower.has_cls)
        self._weights = encoder.attend(*self._heads, entered.bias)
        features = leave_last_block(encoder, tower, entered)
        self._entered: List[Tuple[PostProcessor, DenseFeatures]] = []
        self._ends: Dict[str, DenseFeatures] = {}
        for stage in ('tokens', 'embeddings'):
            if stage == 'embeddings':
                features = project(tower, features)
            for module, left in self._chain.steps(features, stage):
                self._entered.append((module, features))
                features = left
            self._ends[stage] = features

    def attention(self, model_types: Sequence[str]) -> Dict[str, np.ndarray]:
        """Attention of the patches of the points in the last block: shares, which sum to 1 with that of the CLS token.

        Args:
            model_types: Names in ``ATTENTIONS``, each taken with its defaults and without the similarity map.

        Returns:
            ``(P, h, w)`` for each name, and for ``AS_CONFIGURED``; mean over heads.

        Raises:
            ValueError: an unknown name.
        """
        weights = {}
        for name in model_types:
            attention = registered(ATTENTIONS, name)
            if attention is None:
                raise ValueError(f'attention type={shown(name)} is unknown; known: {", ".join(sorted(ATTENTIONS.module_dict))}')
            weights[name] = attention(*self._heads)
        weights[AS_CONFIGURED] = self._weights
        return {name: self._maps(_shares(values, self._first_patch)) for name, values in weights.items()}

    def similarity(self) -> np.ndarray:
        """The mid-layer similarity of the patches of the points to all patches, ``(P, h, w)``; see ``similarity_map``."""
        return self._maps(self._similarity.float())

    def outliers(self) -> Tuple[np.ndarray, np.ndarray, str]:
        """The patches' outlier scores ``(h, w)``, which of them are replaced ``(h, w)``, and the detector's name."""
        module, features = self._entering(OutlierSuppression)
        scores = DETECTORS[module.detector](features.patches, features.attn)
        return self._map(scores[0]), self._map(outlier_mask(scores, module.top_k)[0]), module.detector

    def clusters(self) -> np.ndarray:
        """CTD's cluster of each patch, ``(h, w)``, noise -1."""
        module, features = self._entering(CTD)
        return self._map(module.cluster(features.patches)[0])

    def cls_similarity(self) -> Tuple[np.ndarray, np.ndarray]:
        """The patches' cosine similarity to the CLS token before and after global debiasing, ``(h, w)`` each."""
        module, features = self._entering(GlobalDebias)
        if features.cls_token is None:
            raise ValueError('the similarity to the CLS token needs one, and the model has none')
        cls_token = features.cls_token.unsqueeze(1)
        before, after = (self._map(cosine(x.patches, cls_token)[0, :, 0]) for x in (features, module(features)))
        return before, after

    def is_on(self, kind: Type[PostProcessor]) -> bool:
        """Return True if the model has a module of this class."""
        return any(isinstance(module, kind) for module in self._chain.modules)

    def _entering(self, kind: Type[PostProcessor]) -> Tuple[Any, DenseFeatures]:
        """The first module of this class, and the features that enter it."""
        entered = (step for step in self._entered if isinstance(step[0], kind))
        return next(entered, (kind(), self._ends[kind.stage]))

    def _map(self, values: Tensor) -> np.ndarray:
        return values.cpu().numpy().reshape(self.grid_size)

    def _maps(self, rows: Tensor) -> np.ndarray:
        """The rows of the points' patches of ``rows (N, N)``, ``(P, h, w)``."""
        return np.stack([self._map(rows[row * self.grid_size[1] + column]) for row, column in self.patches])


@torch.no_grad()
def predicted_labels(segmentor: CLIPSegmentor, inputs: Tensor, ori_shape: Tuple[int, int]) -> np.ndarray:
    """The label map ``(H, W)`` of an image, without the decoder's ``reject``; arguments as in ``WindowInspection``.

    Raises:
        FloatingPointError: scores are not finite; names the module that they come from.
    """
    image, sample = _preprocessed(segmentor, inputs), SegDataSample(metainfo=dict(ori_shape=ori_shape))
    if segmentor.decoder.reject:
        segmentor = segmentor.variant(decoder=replace(segmentor.decoder, reject=0.0))
    segmentor.predict([image], [sample])
    if 'nonfinite_pixels' in sample:
        raise FloatingPointError(f'the image: {explain_nonfinite(segmentor, image)}')
    return sample.pred_sem_seg.data[0].cpu().numpy()


@torch.no_grad()
def class_scores(segmentor: CLIPSegmentor, inputs: Tensor, size: Tuple[int, int], classes: Sequence[int]) -> np.ndarray:
    """Scores of some classes, each the largest of its synonyms, ``(K, *size)``; other arguments as in ``WindowInspection``.

    They are cosine similarities, with the decoder's ``cls_token_lambda`` and refiner, before ``logit_scale`` and softmax.
    """
    image = _preprocessed(segmentor, inputs)
    windows, = segmentor.window_patches([image])
    windows, (embeddings, class_of, _) = segmentor.scored(windows)
    image, scores = segmentor.decoder_image(image), []
    for index in classes:
        names = class_of == index
        of_class = windows if embeddings is not None else windows._replace(patches=patch_scores(windows.patches, None, names))
        rows = None if embeddings is None else embeddings[names]
        texts = ClassTexts(rows, torch.zeros_like(class_of[names]), 1)
        scores.append(segmentor.decoder.class_scores(image, of_class, texts, size))
    return torch.cat(scores).cpu().numpy()


def _preprocessed(segmentor: CLIPSegmentor, inputs: Tensor) -> Tensor:
    return segmentor.data_preprocessor(dict(inputs=[inputs]))['inputs'][0]


def _shares(weights: Tensor, first: int) -> Tensor:
    """Mean over heads of ``weights (1, H, T, T)``, rows divided by their sum, patches only, from ``first`` on: ``(N, N)``."""
    mean = weights[0].float().mean(dim=0)
    return (mean / mean.sum(dim=-1, keepdim=True))[first:, first:]


def _locate(layout: WindowLayout, patch_size: Tuple[int, int], points: Points,
            ori_shape: Tuple[int, int]) -> Tuple[int, List[Tuple[int, int]]]:
    """The number of the window, and the patch of each point in its grid."""
    for point in points:
        if not all(0 <= position < size for position, size in zip(point, ori_shape)):
            raise ValueError(f'the point {point[0]},{point[1]} (y,x) is outside the image, which has {ori_shape[0]} rows and '
                             f'{ori_shape[1]} columns of pixels')
    axes = (layout.rows, layout.cols)
    found = [_locate_along(axis, patch, [int((position + 0.5) * axis.size / size) for position in positions])
             for axis, patch, positions, size in zip(axes, patch_size, zip(*points), ori_shape)]
    along_rows, along_columns = found
    if along_rows is None or along_columns is None:
        lengths = ' x '.join(str(round(axis.length * size / axis.size)) for axis, size in zip(axes, ori_shape))
        raise ValueError(f'no window holds all points: a window takes {lengths} pixels of the image. Choose points nearer to '
                         'each other, or make the whole image one window by model.windows.crop=0')
    (row, rows), (column, columns) = along_rows, along_columns
    return row * len(layout.cols.starts) + column, list(zip(rows, columns))


def _locate_along(axis: AxisWindows, patch: int, positions: Sequence[int]) -> Optional[Tuple[int, List[int]]]:
    """Along one axis: the window in whose middle these pixels of the network's input lie, and their patches in it."""
    length = min(axis.length, axis.cells * patch)  # without what pad_mode='none' drops
    holding = [index for index, start in enumerate(axis.starts) if start <= min(positions) and max(positions) < start + length]
    if not holding:
        return None
    middle = (min(positions) + max(positions) + 1) / 2
    window = min(holding, key=lambda index: abs(axis.starts[index] + length / 2 - middle))
    return window, [(position - axis.starts[window] + axis.pad[0]) // patch for position in positions]
