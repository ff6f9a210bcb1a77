"""Text embeddings of class names in CLIP's joint space."""
from typing import Any, Callable, Dict, Sequence, Tuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from ovseg.models.frozen import FrozenModule
from ovseg.models.text.late_progress import LateProgress
from ovseg.models.text.prompt_cuts import warn_of_cuts
from ovseg.models.text.text_cache import cache_folder, content_key, load_rows, store_rows
from ovseg.models.text.text_tower import AnyCLIP, cut_to, needed_tokens
from ovseg.precision import full_precision

NAMES_PER_BLOCK = 256  # bounds the memory that prompts take, and the work that an interrupted run loses
MOST_NAMES = 20_000  # kept in memory and in a file of the cache, beside those of the call: some 40 MB


class TextEncoder(FrozenModule):
    """Embeds class names with CLIP's text tower, averaged over prompt templates.

    Equal prompts are encoded once, prompts of similar length together, cut to the longest of them where ``can_cut`` allows.
    Rows are kept in memory, and on disk (``text_cache``).

    Args:
        clip: An open_clip model; its image tower is not used.
        tokenizer: Its tokenizer: strings, and perhaps a context length, to ids ``(n, context_length)``.
        batch_size: Prompts per forward pass.
        cache: Keep rows in ``cache_folder()`` too. Switch it off for random weights, whose rows no later run can use.
    """

    clip: AnyCLIP

    def __init__(self, clip: AnyCLIP, tokenizer: Callable[..., Tensor], batch_size: int = 256, cache: bool = True) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.cache = cache
        self.loads = 0  # how often weights were loaded: embeddings of former ones are not valid any more
        self._known: Dict[Tuple[str, ...], Dict[str, Tensor]] = {}  # by templates, then by name
        self.freeze()

    @torch.inference_mode(False)  # rows that one call keeps may be differentiated through in the next
    @torch.no_grad()
    def encode(self, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """``(Q, E)`` float32 unit rows: per name the mean over the templates of unit text embeddings, normalised again.

        The weights' own precision is used, whatever autocast says, so that rows do not depend on the first caller. A name too
        long for CLIP's context is cut, with a warning that shows where.

        Raises:
            FloatingPointError: an embedding is not finite; names the class names.
        """
        names = list(dict.fromkeys(class_names))
        warn_of_cuts(names, templates, self.tokenizer)
        rows = self._known.setdefault(tuple(templates), {})
        if not rows.keys() >= set(names):
            self._find_or_compute(names, templates, rows)
        return torch.stack([rows[name] for name in class_names]).to(self._device)

    def forward(self, ids: Tensor) -> Tensor:
        """Unit embeddings ``(n, E)`` of token ids ``(n, L)``, L the context length, as open_clip computes them."""
        return self.clip.encode_text(ids, normalize=True)

    def _find_or_compute(self, names: Sequence[str], templates: Sequence[str], rows: Dict[str, Tensor]) -> None:
        """Add to ``rows`` those on the disk, then encode the names that are still missing."""
        folder = cache_folder() if self.cache else None
        file = folder and folder / 'text' / f'{content_key(self.clip, self.tokenizer, templates)}.safetensors'
        if file:
            rows.update(load_rows(file))
        if len(rows) > MOST_NAMES:
            wanted = set(names)
            unneeded = [name for name in rows if name not in wanted]
            for name in unneeded[:len(rows) - MOST_NAMES]:  # the oldest
                del rows[name]
        missing = [name for name in names if name not in rows]
        with LateProgress('Encoding prompts', len(missing) * len(templates)) as progress:
            for start in range(0, len(missing), NAMES_PER_BLOCK):
                block = self._rows(missing[start:start + NAMES_PER_BLOCK], templates, progress)
                rows.update(block)
                if file:
                    store_rows(file, block, MOST_NAMES)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load weights, and clear the rows of former ones."""
        super()._load_from_state_dict(*args, **kwargs)
        self._known.clear()
        self.loads += 1

    @property
    def _device(self) -> torch.device:
        return next(self.clip.parameters()).device

    def _rows(self, names: Sequence[str], templates: Sequence[str], progress: LateProgress) -> Dict[str, Tensor]:
        """The row ``(E,)`` of each name, on the CPU."""
        prompts = [template.format(name) for name in names for template in templates]
        index = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        ids = self.tokenizer(list(index))
        lengths = needed_tokens(self.clip, ids)
        order = lengths.argsort(descending=True)  # what takes most memory first
        embeddings = []
        for batch in order.split(self.batch_size):
            embeddings.append(self._embed(ids[batch, :lengths[batch[0]]].to(self._device)).float())
            progress.advance(len(batch))
        place = order.argsort()[[index[prompt] for prompt in prompts]]
        means = torch.cat(embeddings)[place].unflatten(0, (len(names), len(templates))).mean(dim=1)
        rows = F.normalize(means, dim=-1).cpu()
        broken = [name for name, length in zip(names, rows.norm(dim=-1).tolist()) if not length > 0]  # 0: it was divided by Inf
        if broken:
            raise FloatingPointError(f'the text tower gives no finite embedding of {len(broken)} of {len(names)} class names: '
                                     f'{", ".join(map(repr, broken[:5]))}' + (', …' if len(broken) > 5 else '')
                                     + '; are its weights finite?')
        return dict(zip(names, rows))

    def _embed(self, ids: Tensor) -> Tensor:
        """``forward`` of the first L tokens alone, ``ids (n, L)``."""
        replaced = {f'clip.{name}': tensor for name, tensor in cut_to(self.clip, ids.shape[1]).items()}
        with full_precision(ids):
            return functional_call(self, replaced, (ids,))
