"""SimFeatUp's JBU upsampler (Li et al., SegEarth-OV: Towards Training-Free Open-Vocabulary Segmentation for Remote Sensing
Images, 2024; after Fu et al., FeatUp, 2024).
"""
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple, Union

import torch
from mmengine.logging import print_log
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn
from torch.nn import functional as F

from ovseg.digests import file_digest
from ovseg.models.neighbourhoods import sums_of_neighbours
from ovseg.models.towers.checkpoints import read_state_dict
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.towers.loading import RANDOM
from ovseg.models.upsamplers.linear_upsampler import LinearUpsampler, Piece
from ovseg.registry import UPSAMPLERS
from ovseg.utils import check_number, expanded, one_line, quoted, shown

RADIUS = 5
NEIGHBOURS = (2 * RADIUS + 1) ** 2
KEY_WIDTH = 32
DOUBLINGS = 4
FIXUP = 0.1
CHANNELS = 64  # that are upsampled together: a row of them is a few cache lines
STRIP_BYTES = 4 * 2 ** 20  # of the weights of some rows of pixels while they are computed
FIRST_KEY = 'up.range_temp'


class JBUWeights(nn.Module):
    """The weights U of one doubling: those of an 11 x 11 joint bilateral filter, from the colours of the finer grid.

    ``softmax(e^t k_p · k_n) * exp(-d² / 2σ²)`` over the neighbours n, divided by its sum, plus 0.1 times an MLP of it and the
    colour; k is an MLP of the colour, and d the distance with the radius as unit. Names and shapes are those of the released
    weights. Beyond the border the image is mirrored.
    """

    def __init__(self) -> None:
        super().__init__()
        self.range_temp = nn.Parameter(torch.tensor(0.0))
        self.sigma_spatial = nn.Parameter(torch.tensor(1.0))
        self.range_proj = _two_layers(3, KEY_WIDTH)
        self.fixup_proj = _two_layers(NEIGHBOURS + 3, NEIGHBOURS)

    def forward(self, colours: Tensor) -> Tensor:
        """``(B, H, W, 121)`` float32 of ``colours (B, 3, H, W)``, which are at least 6 x 6."""
        count, _, height, width = colours.shape
        colours = colours.to(self.range_temp.dtype)
        keys = self.range_proj(colours)
        padded = F.pad(keys, [RADIUS] * 4, mode='reflect')
        colours = colours.permute(0, 2, 3, 1)
        per_strip = max(1, STRIP_BYTES // (4 * NEIGHBOURS * width * count))
        result = colours.new_empty(count, height, width, NEIGHBOURS, dtype=torch.float32)
        for top in range(0, height, per_strip):
            rows = slice(top, min(top + per_strip, height))
            strip = self._filter(keys[:, :, rows], padded[:, :, top:rows.stop + 2 * RADIUS])
            result[:, rows] = strip + FIXUP * self._fixup(strip, colours[:, rows])
        return result

    def _filter(self, keys: Tensor, padded: Tensor) -> Tensor:
        """The normalised filter ``(B, r, W, 121)`` of some rows of ``keys (B, 32, r, W)``, and of them with their border."""
        height, width = keys.shape[2:]
        side = 2 * RADIUS + 1
        logits = keys.new_empty(len(keys), height, width, NEIGHBOURS)
        for index in range(NEIGHBOURS):
            y, x = divmod(index, side)
            logits[..., index] = (padded[:, :, y:y + height, x:x + width] * keys).sum(dim=1)
        coordinates = torch.linspace(-1, 1, side, dtype=keys.dtype, device=keys.device).square()
        distances = (coordinates.unsqueeze(1) + coordinates).flatten()
        weights = (logits * self.range_temp.exp().clamp(1e-4, 1e4)).softmax(dim=-1)
        weights = weights * (-distances / (2 * self.sigma_spatial ** 2)).exp()
        return weights / weights.sum(dim=-1, keepdim=True).clamp_min(1e-7)

    def _fixup(self, weights: Tensor, colours: Tensor) -> Tensor:
        layers: Any = self.fixup_proj
        first, _, _, last = layers
        hidden = F.linear(torch.cat([weights, colours], dim=-1), first.weight.flatten(1), first.bias)
        return F.linear(F.gelu(hidden), last.weight.flatten(1), last.bias)


def _two_layers(width: int, output_width: int) -> nn.Sequential:
    """Two linear layers for maps; the third module stands for a dropout, which has no effect here."""
    return nn.Sequential(nn.Conv2d(width, output_width, 1), nn.GELU(), nn.Identity(), nn.Conv2d(output_width, output_width, 1))


@UPSAMPLERS.register_module()
class JBUOne(LinearUpsampler):
    """Doubles the grid four times, each time by bicubic interpolation and the same joint bilateral filter: see ``JBUWeights``.

    A linear layer of the embeddings, times 0.1, is added to the result; here to the patches, which gives the same.

    Args:
        pretrained: A file with the released weights ``up.*`` and ``fixup_proj.*``, alone or with what a training checkpoint
            puts in front of all names, e.g. ``upsampler.``; None for random weights.
        memory_mb: Bound for what windows take that are upsampled together, beside the result; at least one is taken.

    Raises:
        ValueError: the path is no text, or a number is out of range.
    """

    up: JBUWeights
    fixup_proj: nn.Sequential
    mean: Tensor
    std: Tensor

    def __init__(self, pretrained: Optional[Union[str, Path]] = None, memory_mb: float = 256) -> None:
        super().__init__()
        if pretrained is not None and (not isinstance(pretrained, (str, Path)) or not str(pretrained)):
            raise ValueError(f'upsampler.pretrained={shown(pretrained)} must be a path, or None')
        self.pretrained = None if pretrained is None else str(pretrained)
        self.memory_mb = check_number('upsampler.memory_mb', memory_mb, above=True)

    def load(self, tower: ImageTower) -> None:
        """See ``Upsampler``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it holds other weights, or those of another width; names the file and the key.
        """
        width = tower.output_width
        if 'fixup_proj' in self._modules:
            own = self.offset.numel()
            if own != width:
                raise ValueError(f'upsampler JBUOne has weights for a width of {own}, and this CLIP has {width}')
            return
        self.up, self.fixup_proj = JBUWeights(), nn.Sequential(nn.Identity(), nn.Conv2d(width, width, 1))
        for name, value in (('mean', OPENAI_DATASET_MEAN), ('std', OPENAI_DATASET_STD)):  # which it was trained with
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1), persistent=False)
        if self.pretrained is None:
            print_log('upsampler.pretrained=None: JBUOne runs with random weights, so its labels mean nothing', 'current', 30)
        else:
            self.load_state_dict(read_weights(self.pretrained, self.state_dict()))
        self.freeze()

    def weights_digest(self) -> str:
        """See ``Upsampler``; for random weights a text that no other process has."""
        return RANDOM if self.pretrained is None else file_digest(_weights_file(self.pretrained))

    @property
    def _fixup(self) -> Any:
        return self.fixup_proj[1]

    def mix(self, patches: Tensor) -> Tensor:
        """See ``LinearUpsampler``."""
        return patches + FIXUP * F.linear(patches, self._fixup.weight.flatten(1).float())

    @property
    def offset(self) -> Tensor:
        """See ``LinearUpsampler``."""
        return FIXUP * self._fixup.bias.float()

    def finer_grid(self, grid_size: Tuple[int, int]) -> Tuple[int, int]:
        """See ``LinearUpsampler``."""
        if 2 * min(grid_size) <= RADIUS:
            raise ValueError(f'upsampler JBUOne needs windows of at least 3 x 3 patches, not {grid_size[0]} x {grid_size[1]}')
        return grid_size[0] * 2 ** DOUBLINGS, grid_size[1] * 2 ** DOUBLINGS

    def spread(self, maps: Tensor, rgb: Tensor, grid_size: Tuple[int, int]) -> Iterator[Piece]:
        """See ``LinearUpsampler``."""
        rows, columns = self.finer_grid(grid_size)
        floats = rows * columns * (4 / 3 * NEIGHBOURS + 4 * min(CHANNELS, maps.shape[2]))  # U; maps, finer, padded, result
        chunk_size = max(1, int(self.memory_mb * 2 ** 20 / (4 * floats)))
        for first in range(0, len(maps), chunk_size):
            windows = slice(first, min(first + chunk_size, len(maps)))
            guidance = (rgb[windows] - self.mean) / self.std
            doublings = [self.up(F.adaptive_avg_pool2d(guidance, (grid_size[0] * 2 ** n, grid_size[1] * 2 ** n)))
                         for n in range(1, DOUBLINGS + 1)]
            for start in range(0, maps.shape[2], CHANNELS):
                channels = slice(start, min(start + CHANNELS, maps.shape[2]))
                part = maps[windows, :, channels].unflatten(1, grid_size)
                for weights in doublings:
                    part = _double(part, weights)
                yield windows, channels, part.flatten(1, 2)


def _double(maps: Tensor, weights: Tensor) -> Tensor:
    """``maps (B, h, w, C)`` on the grid of ``weights (B, H, W, 121)``: bicubic, then filtered."""
    finer = F.interpolate(maps.permute(0, 3, 1, 2), weights.shape[1:3], mode='bicubic', align_corners=False)
    return sums_of_neighbours(F.pad(finer, [RADIUS] * 4, mode='reflect').permute(0, 2, 3, 1), weights)


def _weights_file(given: str) -> Path:
    path: Path = expanded('upsampler.pretrained', given)
    if not path.is_file():
        raise FileNotFoundError(f'upsampler.pretrained={shown(given)}: there is no file {quoted(path.absolute())}')
    return path


def read_weights(given: str, own: Dict[str, Any]) -> Dict[str, Tensor]:
    """The upsampler's weights in a file.

    Args:
        given: The path.
        own: Weights of the same names and shapes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, a weight is missing or of another shape, or there are others; names the file and the key.
    """
    path = _weights_file(given)
    try:
        state = read_state_dict(path)
    except ValueError as error:
        raise ValueError(f'upsampler.pretrained: {quoted(path)}: {one_line(error)}') from error
    prefixes = [key[:-len(FIRST_KEY)] for key in state if key == FIRST_KEY or key.endswith(f'.{FIRST_KEY}')]
    if len(prefixes) != 1:
        raise ValueError(f'upsampler.pretrained: {quoted(path)} must hold the weights of one JBUOne, and has {len(prefixes)} '
                         f'named {FIRST_KEY!r}')
    prefix = prefixes[0]
    found = {key[len(prefix):]: value for key, value in state.items() if key.startswith(prefix)}
    for key, value in own.items():
        if key not in found:
            raise ValueError(f'upsampler.pretrained: {quoted(path)} has no weight {prefix + key!r}')
        if found[key].shape != value.shape or not found[key].is_floating_point():
            raise ValueError(f'upsampler.pretrained: {quoted(path)}: {prefix + key!r} is {found[key].dtype} of shape '
                             f'{tuple(found[key].shape)}, and this CLIP needs floating-point numbers of shape '
                             f'{tuple(value.shape)}')
    for key in found:
        if key not in own:
            raise ValueError(f'upsampler.pretrained: {quoted(path)}: {prefix + key!r} is no weight of JBUOne')
    return found
