"""Upsamplers to grids too fine to hold embeddings on."""
from abc import abstractmethod
from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

import torch
from torch import Tensor

from ovseg.models.dense_features import DenseFeatures
from ovseg.models.upsamplers.upsampler import Upsampler
from ovseg.precision import full_precision

Piece = Tuple[slice, slice, Tensor]


class LinearUpsampler(Upsampler):
    """An upsampler of the form ``f_p = sum over patches n of U_pn g_n + offset``, with ``g = mix(patches)`` and a U that
    depends on the image alone.

    Models do not hold f, which has the width E at every pixel: the cosine of f with a text embedding is the upsampled product
    of g with it, plus that of the offset, divided by ``|f|``. So they keep g and the lengths, and upsample scores of a few
    texts at a time. U is computed again for each chunk of texts that ``decoder.memory_mb`` allows.
    """

    @abstractmethod
    def mix(self, patches: Tensor) -> Tensor:
        """The g of patches ``(B, N, E)``, of the same shape."""

    @property
    @abstractmethod
    def offset(self) -> Tensor:
        """``(E,)``."""

    @abstractmethod
    def finer_grid(self, grid_size: Tuple[int, int]) -> Tuple[int, int]:
        """Rows and columns of f where the patches have ``grid_size``.

        Raises:
            ValueError: the grid is too small.
        """

    @abstractmethod
    def spread(self, maps: Tensor, rgb: Tensor, grid_size: Tuple[int, int]) -> Iterator[Piece]:
        """``sum over n of U_pn maps_n``, piece by piece.

        Args:
            maps: ``(B, N, C)`` float32.
            rgb: The windows as RGB ``(B, 3, h, w)`` float32 in [0, 1].
            grid_size: ``(rows, columns)`` with ``rows * columns = N``.

        Yields:
            Windows, channels, and their values ``(b, N', c)``. All windows and channels come once.
        """

    def __call__(self, features: DenseFeatures, rgb: Tensor) -> DenseFeatures:
        """See ``Upsampler``: f itself."""
        grid_size = self.finer_grid(features.grid_size)
        finer = self.whole(self.mix(features.patches.float()), rgb, features.grid_size).add_(self.offset)
        return features.replace(patches=finer.to(features.patches.dtype), grid_size=grid_size)

    def lengths(self, mixed: Tensor, rgb: Tensor, grid_size: Tuple[int, int]) -> Tensor:
        """``|f|``, ``(B, N')`` float32, of ``mixed (B, N, E)``; not finite where f is not."""
        rows, columns = self.finer_grid(grid_size)
        squares = mixed.new_zeros(len(mixed), rows * columns)
        for windows, channels, values in self.spread(mixed, rgb, grid_size):
            squares[windows] += values.add_(self.offset[channels]).square_().sum(dim=2)
        return squares.sqrt_()

    def whole(self, maps: Tensor, rgb: Tensor, grid_size: Tuple[int, int]) -> Tensor:
        """The pieces of ``spread`` in one tensor ``(B, N', C)``."""
        rows, columns = self.finer_grid(grid_size)
        whole = maps.new_empty(len(maps), rows * columns, maps.shape[2])
        for windows, channels, values in self.spread(maps, rgb, grid_size):
            whole[windows, :, channels] = values
        return whole


@dataclass(frozen=True)
class UpsampledPatches:
    """Patches of an image's windows that are not held on the finer grid; their scores are upsampled.

    Args:
        upsampler: The upsampler.
        mixed: ``upsampler.mix`` of the patches, ``(windows, N, E)``.
        grid_size: Their grid.
        lengths: Of the upsampled patches, ``(windows, N')``; not finite where they have no score.
        rgb: The windows, ``(windows, 3, h, w)``.
        shift: Added to each unit vector of a window, ``(windows, E)``; None for none.
    """
    upsampler: LinearUpsampler
    mixed: Tensor
    grid_size: Tuple[int, int]
    lengths: Tensor
    rgb: Tensor
    shift: Optional[Tensor]

    @classmethod
    def parts(cls, upsampler: LinearUpsampler, features: DenseFeatures, rgb: Tensor, shift: Optional[Tensor]) -> List[Tensor]:
        """Tensors that are kept of a batch of windows, each ``(B, ...)``: mixed patches, lengths, windows and shift.

        Args:
            upsampler: The upsampler.
            features: Embeddings of the windows.
            rgb: The windows.
            shift: See the class. A window whose shift is not finite has no finite lengths.
        """
        with full_precision(rgb):
            mixed = upsampler.mix(features.patches.float())
            lengths = upsampler.lengths(mixed, rgb, features.grid_size)
        shift = rgb.new_empty(len(rgb), 0) if shift is None else shift
        lengths.masked_fill_(~shift.isfinite().all(dim=1, keepdim=True), torch.nan)
        finer_grid = upsampler.finer_grid(features.grid_size)
        return [mixed.unflatten(1, features.grid_size), lengths.unflatten(1, finer_grid), rgb, shift]

    @classmethod
    def of_parts(cls, upsampler: LinearUpsampler, mixed: Tensor, lengths: Tensor, rgb: Tensor,
                 shift: Tensor) -> 'UpsampledPatches':
        """The patches of an image, of the parts of all its windows."""
        return cls(upsampler, mixed.flatten(1, 2), (mixed.shape[1], mixed.shape[2]), lengths.flatten(1), rgb,
                   shift if shift.shape[1] else None)

    @property
    def device(self) -> torch.device:
        """The device of the scores."""
        return self.mixed.device

    def __matmul__(self, columns: Tensor) -> Tensor:
        """Scores ``(windows, N', q)`` of text embeddings ``(E, q)``; 0 where the upsampled patches are not finite."""
        scores = self.upsampler.whole(self.mixed @ columns, self.rgb, self.grid_size)
        scores.add_(self.upsampler.offset @ columns).div_(self.lengths.clamp_min(1e-12).unsqueeze(2))
        if self.shift is not None:
            scores.add_((self.shift @ columns).unsqueeze(1))
        return scores.masked_fill_(~self.lengths.isfinite().unsqueeze(2), 0)
