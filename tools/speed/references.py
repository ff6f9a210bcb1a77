"""The straightforward ways that ovseg is compared with."""
from typing import Any, List, Tuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ovseg.inference.windows import WindowLayout
from ovseg.models import CLIPSegmentor, DenseFeatures
from ovseg.models.post_processors import CTD
from ovseg.models.post_processors.outlier_suppression import grid_neighbours


def loop_predict(model: CLIPSegmentor, image: Tensor, out_size: Tuple[int, int]) -> Tensor:
    """One window at a time through the encoder, its scores upsampled and added to a canvas of all text embeddings."""
    layout = model.windows.plan((image.shape[1], image.shape[2]), model.tower.patch_size)
    scores = []
    for window in layout.cut(image):
        patches = F.normalize(model.embed(window.unsqueeze(0)).patches, dim=-1)
        scores.append((patches @ model.text_embeddings.to(patches.dtype).t())[0])
    return loop_decode(torch.stack(scores), layout, out_size, model.decoder.logit_scale, model.class_of_text,
                       model.out_channels)


def loop_decode(scores: Tensor, layout: WindowLayout, out_size: Tuple[int, int], logit_scale: float, class_of: Tensor,
                num_classes: int) -> Tensor:
    """Scores ``(windows, N, Q)`` to labels as the field writes it: canvas, counts, resize, softmax, one-hot product, argmax."""
    rows, cols = layout.rows, layout.cols
    canvas, counts = scores.new_zeros(1, scores.shape[2], rows.size, cols.size), scores.new_zeros(1, 1, rows.size, cols.size)
    places = [(top, left) for top in rows.starts for left in cols.starts]
    for window, (top, left) in zip(scores, places):
        grid = window.t().reshape(1, -1, rows.cells, cols.cells)
        dense = F.interpolate(grid, size=(rows.length, cols.length), mode='bilinear')
        canvas += F.pad(dense, (left, cols.size - left - cols.length, top, rows.size - top - rows.length))
        counts[:, :, top:top + rows.length, left:left + cols.length] += 1
    logits = F.interpolate(canvas / counts, size=out_size, mode='bilinear')[0]
    probabilities = (logits * logit_scale).softmax(dim=0)
    if num_classes != len(class_of):
        member = F.one_hot(class_of).t().view(num_classes, -1, 1, 1)
        probabilities = (probabilities.unsqueeze(0) * member).amax(dim=1)
    return probabilities.argmax(dim=0)


def loop_outlier_suppression(features: DenseFeatures, top_k: int = 30, temp: float = 0.1, eps: float = 1e-8) -> Tensor:
    """The formula as one would write it first: one window, one patch, one neighbour at a time."""
    neighbours = [row.nonzero().flatten().tolist() for row in grid_neighbours(features.grid_size, torch.device('cpu'))]
    result = features.patches.clone()
    for window, (patches, attn) in enumerate(zip(features.patches, features.attn)):
        ratio = attn[0, 1:] / (attn.diagonal()[1:] + eps)
        outliers = set(ratio.topk(min(top_k, len(patches))).indices.tolist())
        for i in outliers:
            near = patches[neighbours[i]]
            similarity = F.cosine_similarity(patches[i:i + 1], near)
            result[window, i] = (1 - similarity).softmax(0) @ near
            for j, value in zip(neighbours[i], similarity):
                if j not in outliers:
                    result[window, j] -= temp * value * patches[i]
    return result


def sklearn_clusters(embeddings: Tensor, ctd: CTD) -> List[Any]:
    """scikit-learn's DBSCAN, one window at a time."""
    from sklearn.cluster import DBSCAN
    return [DBSCAN(eps=ctd.eps, min_samples=ctd.min_samples, metric=ctd.metric).fit_predict(window)
            for window in F.normalize(embeddings, dim=-1).cpu().numpy()]
