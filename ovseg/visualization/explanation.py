"""All figures of one image: attention, similarity, outliers, clusters, scores, errors."""
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Type, Union

import numpy as np
from matplotlib.figure import Figure
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, TRANSFORMS
from torch import Tensor

from ovseg.models import CLIPSegmentor
from ovseg.models.post_processors import CTD, GlobalDebias, OutlierSuppression, PostProcessor
from ovseg.utils import check_choice, quoted, type_name
from ovseg.visualization import patch_figures
from ovseg.visualization.class_figures import error_figure, score_figure
from ovseg.visualization.inspection import Points, WindowInspection, class_scores, predicted_labels
from ovseg.visualization.panels import LabelColours, thin

MODEL_TYPES = ('Vanilla', 'ClearCLIP', 'SCLIP', 'NACLIP', 'Gated')
MOST_CLASSES = 7  # score maps, where no classes are asked for
LABELS = dict(cls_ratio='r = attn[CLS, i] / attn[i, i]')  # of detectors whose names do not explain them


def explain(segmentor: CLIPSegmentor, image: np.ndarray, inputs: Tensor, points: Points = (),
            model_types: Sequence[str] = MODEL_TYPES, classes: Sequence[str] = (),
            ground_truth: Optional[np.ndarray] = None) -> Dict[str, Figure]:
    """All figures of one image.

    Args:
        segmentor: The model.
        image: The image, ``(H, W, 3)`` uint8 RGB.
        inputs: The same as the test pipeline leaves it, ``(3, h, w)`` uint8 BGR.
        points: Row and column of the pixels of ``image`` whose patches are followed; none for its middle. They choose the
            window that is looked into; see ``WindowInspection``.
        model_types: Attentions to compare.
        classes: Whose scores to show, by their names; none for the largest of the prediction.
        ground_truth: ``(H, W)``, -1 where nothing is scored; see ``read_ground_truth``. None for no figure of errors.

    Returns:
        Figures by name: ``attention``, ``similarity``, ``outliers``, ``clusters``, ``cls_similarity``, ``scores``, ``errors``.

    Raises:
        FloatingPointError: scores are not finite; names the module that they come from.
        ValueError: an unknown name, or a point that does not fit.
    """
    shape, names = image.shape[:2], segmentor.class_names
    chosen = [names.index(check_choice('class', name, names)) for name in classes]
    points = points or [(shape[0] // 2, shape[1] // 2)]
    inspection = WindowInspection(segmentor, inputs, points, shape)
    labels = predicted_labels(segmentor, inputs, shape)
    figures = window_figures(inspection, model_types)
    chosen = chosen or LabelColours(labels).largest[:MOST_CLASSES]
    small = thin(image)
    scores = class_scores(segmentor, inputs, small.shape[:2], chosen)
    figures['scores'] = score_figure(small, scores, [names[index] for index in chosen])
    if ground_truth is not None:
        figures['errors'] = error_figure(image, labels, ground_truth, names)
    return figures


def window_figures(inspection: WindowInspection, model_types: Sequence[str]) -> Dict[str, Figure]:
    """The figures of one window."""
    image, patches = inspection.image, inspection.patches
    scores, replaced, detector = inspection.outliers()
    return dict(
        attention=patch_figures.attention_figure(image, inspection.attention(model_types), patches),
        similarity=patch_figures.similarity_figure(image, inspection.similarity(), patches),
        outliers=patch_figures.outlier_figure(image, scores, replaced, LABELS.get(detector, detector),
                                              _title('Outlier suppression', inspection, OutlierSuppression)),
        clusters=patch_figures.cluster_figure(image, inspection.clusters(), _title('Clusters of CTD', inspection, CTD)),
        cls_similarity=patch_figures.cls_similarity_figure(
            image, *inspection.cls_similarity(), _title('Similarity to the CLS token', inspection, GlobalDebias)))


def read_ground_truth(dataset: Mapping[str, Any], path: Union[str, Path], shape: Tuple[int, int], count: int) -> np.ndarray:
    """Read the classes ``(H, W)`` of a label file as the data set reads its own; -1 where nothing is scored.

    Args:
        dataset: Config of the data set; its files need not be there.
        path: The label file.
        shape: Height and width of the image.
        count: Classes of the model.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no label map, another number of classes or pixels, or a value that is no class.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise FileNotFoundError(f'there is no label map {quoted(path)}')
    present = dict(ann_file=str(path), data_prefix=dict(img_path=str(path.parent)))  # some data sets want to see files
    with DefaultScope.overwrite_default_scope('mmseg'):
        built = DATASETS.build({**dataset, **present, 'pipeline': [], 'lazy_init': True})
        steps = [step for step in dataset['pipeline'] if type_name(step['type']).endswith('Annotations')]
        if not steps:
            raise ValueError("the pipeline of the config's data set does not load annotations")
        load = TRANSFORMS.build(steps[0])
    classes = len(built.metainfo['classes'])
    if classes != count:
        raise ValueError(f'the model has {count} classes and {type(built).__name__} {classes}: its labels would be mixed up')
    try:
        labels = load(dict(seg_map_path=str(path), seg_fields=[], label_map=built.label_map,
                           reduce_zero_label=built.reduce_zero_label))['gt_seg_map'].astype(int)
    except OSError as error:
        raise ValueError(f'cannot read label map {quoted(path)}: {error}') from error
    if labels.shape != tuple(shape):
        raise ValueError(f'{quoted(path)} is no label map of the image: its shape is {labels.shape}, not {tuple(shape)}')
    unknown = np.unique(labels[(labels >= count) & (labels != built.ignore_index)])
    if len(unknown):
        raise ValueError(f'{quoted(path)} has values that are no class of {type(built).__name__}: '
                         + ', '.join(map(str, unknown[:5])))
    return np.where(labels == built.ignore_index, -1, labels)


def _title(text: str, inspection: WindowInspection, kind: Type[PostProcessor]) -> str:
    return text if inspection.is_on(kind) else f'{text} (off in this config: shown with its defaults)'
