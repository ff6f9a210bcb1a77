"""A segmentor as one network of a fixed image size."""
from typing import Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.inference.decode import OUTPUTS_PER_STRIP, Strip, axis_strips
from ovseg.inference.nonfinite import ignore_label
from ovseg.models import CLIPSegmentor
from ovseg.models.class_texts import ClassTexts
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.window_batch import WindowBatch


class LabelNetwork(nn.Module):
    """Label maps of RGB images of one size: what ``CLIPSegmentor.predict`` computes, without control flow that reads data.

    It differs from ``predict`` in this: it normalises the images itself, patches that are not finite are not looked for, and
    the scores of all texts are held at once, ``decoder.memory_mb`` of dense ones at a time.

    Args:
        model: The segmentor, which ``check_components`` accepts, on the CPU and in float32.
        size: Height and width of the images.
    """

    mean: Tensor
    std: Tensor
    texts: Tensor
    class_of: Tensor

    def __init__(self, model: CLIPSegmentor, size: Tuple[int, int]) -> None:
        super().__init__()
        self.tower, self.encoder, self.chain = model.tower, model.image_encoder, model.post_processors
        self.upsampler, self.decoder, self.count = model.upsampler, model.decoder, model.out_channels
        self.layout = model.plan(size)
        self.pixels = [torch.cat([torch.arange(start, start + axis.length) for start in axis.starts])
                       for axis in (self.layout.rows, self.layout.cols)]
        for name, values in dict(mean=model.mean, std=model.std, texts=model.text_embeddings.detach(),
                                 class_of=model.class_of_text).items():
            self.register_buffer(name, values, persistent=False)
        with torch.no_grad():
            grid_size = self.features(self.cut(torch.zeros(1, 3, *size))).grid_size
        self.layout = self.layout.on_grid(grid_size)
        self.orders = self.layout.rows.order, self.layout.cols.order
        row = 4 * len(self.texts) * size[1]  # bytes of a row of dense scores
        rows = max(1, min(int(self.decoder.memory_mb * 2 ** 20 / row), OUTPUTS_PER_STRIP))
        self.columns = axis_strips(self.layout.cols, size[1], OUTPUTS_PER_STRIP, self.texts.device)
        self.rows = axis_strips(self.layout.rows, size[0], rows, self.texts.device)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the labels, which holds all classes and ``ignore_label``."""
        return torch.uint8 if ignore_label(self.count) < 2 ** 8 else torch.int32

    def forward(self, images: Tensor) -> Tensor:
        """Labels ``(B, H, W)`` of images ``(B, H, W, 3)`` uint8, RGB."""
        normalised = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        scores = self.on_image(self.vectors(self.features(self.cut(normalised)))) @ self.texts.t()
        columns = torch.cat([scores[:, :, strip.band].transpose(2, 3) @ strip.operator.t() for strip in self.columns], dim=3)
        return torch.cat([self.labels(columns, strip) for strip in self.rows], dim=1)

    def cut(self, images: Tensor) -> Tensor:
        """The windows of images ``(B, 3, H, W)``, padded, image by image and row by row: ``(B * windows, 3, h, w)``."""
        for dim, axis, pixels in zip((2, 4), (self.layout.rows, self.layout.cols), self.pixels):
            images = images.index_select(dim, pixels).unflatten(dim, (len(axis.starts), axis.length))
        windows = images.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        return F.pad(windows, (*self.layout.cols.pad, *self.layout.rows.pad))

    def features(self, windows: Tensor) -> DenseFeatures:
        """Cleaned embeddings of windows, as ``CLIPSegmentor.embed`` gives them."""
        texts = ClassTexts(self.texts, self.class_of, self.count)
        batch = WindowBatch(windows, self.mean, self.std, texts=texts)
        features = self.encoder.tokens(self.tower, batch, with_attention=self.chain.needs_attention)
        features = self.encoder.project(self.tower, self.cleaned(features, 'tokens'))
        features = self.cleaned(features, 'embeddings')
        return features if self.upsampler is None else self.upsampler(features, batch.rgb)

    def cleaned(self, features: DenseFeatures, stage: str) -> DenseFeatures:
        """The features that leave the modules of a stage."""
        for module in self.chain.modules:
            if module.stage == stage:
                features = module(features)
        return features

    def vectors(self, features: DenseFeatures) -> Tensor:
        """The vectors that patches are scored by, as ``Decoder.score_vectors`` gives them."""
        vectors = F.normalize(features.patches.float(), dim=-1)
        if self.decoder.cls_token_lambda and features.cls_token is not None:
            cls_token = F.normalize(features.cls_token.float(), dim=-1)
            vectors = vectors + self.decoder.cls_token_lambda * cls_token.unsqueeze(1)
        return vectors

    def on_image(self, vectors: Tensor) -> Tensor:
        """``WindowLayout.mosaic`` of each image: ``(B, rows * h, columns * w, E)`` of ``(B * windows, h * w, E)``."""
        rows, cols = self.layout.rows, self.layout.cols
        grid = vectors.unflatten(1, (rows.cells, cols.cells)).unflatten(0, (-1, len(rows.starts), len(cols.starts)))
        cells = grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return cells.index_select(1, self.orders[0]).index_select(2, self.orders[1])

    def labels(self, columns: Tensor, strip: Strip) -> Tensor:
        """Labels ``(B, rows, W)`` of a strip of rows, from merged columns ``(B, rows * h, Q, W)``."""
        scores = (strip.operator @ columns[:, strip.band].flatten(2)).unflatten(2, columns.shape[2:])
        labels = self.class_of[scores.argmax(dim=2)] if len(self.texts) != self.count else scores.argmax(dim=2)
        thresholds = ((self.decoder.prob_thd, self.decoder.bg_idx), (self.decoder.reject, ignore_label(self.count)))
        used = [(threshold, label) for threshold, label in thresholds if threshold > 0]
        if used:
            probability = (scores * self.decoder.logit_scale).softmax(dim=2).amax(dim=2)
            for threshold, label in used:
                labels = labels.masked_fill(probability < threshold, label)
        return labels.to(self.dtype)
