"""The post-processors of a model, in order."""
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from ovseg.inference.windows import WindowLayout
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.guides.guide import Guide
from ovseg.models.patch_scores import PatchScores
from ovseg.models.post_processors.post_processor import STAGES, PostProcessor, ScoreProcessor, TextwiseProcessor
from ovseg.models.window_batch import GuideFeatures
from ovseg.precision import full_precision
from ovseg.registry import POST_PROCESSORS
from ovseg.utils import build_checked, check_choice, shown


class PostProcessorChain:
    """Holds post-processors and applies those of one stage.

    Args:
        modules: Config dicts, bare type names or ``PostProcessor`` objects, in order: those for tokens first, then those for
            embeddings, then those for scores. Or another chain, whose modules are taken.

    Raises:
        ValueError: the order goes back to an earlier stage, or a type, key or number is not allowed.
    """

    def __init__(self, modules: Union['PostProcessorChain', Sequence[Any]] = ()) -> None:
        if isinstance(modules, PostProcessorChain):
            modules = modules.modules
        if not isinstance(modules, (list, tuple)):
            raise ValueError(f"post_processors={shown(modules)} must be a list, e.g. [dict(type='GlobalDebias', factor=0.2)], "
                             'or [GlobalDebias,CTD] on the command line')
        self.modules: List[PostProcessor] = [module if isinstance(module, PostProcessor) else
                                             build_checked(POST_PROCESSORS, PostProcessor, module) for module in modules]
        last: Optional[PostProcessor] = None
        for module in self.modules:
            name = type(module).__name__
            check_choice(f'{name}.stage', getattr(module, 'stage', None), STAGES)
            if (module.stage == 'scores') != isinstance(module, ScoreProcessor):
                raise ValueError(f"{name}.stage={module.stage!r}: the modules of the stage 'scores' are the ScoreProcessors")
            if last is not None and STAGES.index(module.stage) < STAGES.index(last.stage):
                raise ValueError(f'post_processors: {name} works on {module.stage} and cannot follow {type(last).__name__}, '
                                 f'which works on {last.stage}: the stages are {", ".join(STAGES)}, in this order')
            last = module

    @property
    def needs_attention(self) -> bool:
        """True if any module needs the encoder's attention."""
        return any(module.needs_attention for module in self.modules)

    @property
    def of_scores(self) -> List[ScoreProcessor]:
        """The modules of the stage ``'scores'``."""
        return [module for module in self.modules if isinstance(module, ScoreProcessor)]

    @property
    def textwise(self) -> bool:
        """True if there are modules of the stage ``'scores'`` and each works on the scores of every text alone."""
        return bool(self.of_scores) and all(isinstance(module, TextwiseProcessor) for module in self.of_scores)

    @property
    def guides(self) -> List[Guide]:
        """The guides of the modules."""
        return [module.guide for module in self.of_scores if module.guide is not None]

    def check(self, has_attention: bool, has_cls: bool, encoder: str) -> None:
        """Refuse modules that need what the dense encoder does not give.

        Args:
            has_attention: Whether it gives the attention.
            has_cls: Whether it gives a CLS token.
            encoder: Its name, for errors.

        Raises:
            ValueError: names the module.
        """
        for module in self.modules:
            for needed, there, what in ((module.needs_attention, has_attention, 'attention'),
                                        (module.needs_cls, has_cls, 'CLS token')):
                if needed and not there:
                    raise ValueError(f'post_processors: {type(module).__name__} needs the {what} of the image encoder, and '
                                     f'{encoder} gives none with this CLIP')

    def __call__(self, features: DenseFeatures, stage: str) -> DenseFeatures:
        """Apply the modules of ``stage`` (``'tokens'`` or ``'embeddings'``) in order.

        Raises:
            ValueError: a module returns no ``DenseFeatures``, or changes the grid or the shape of a tensor.
        """
        for _, left in self.steps(features, stage):
            features = left
        return features

    def steps(self, features: DenseFeatures, stage: str) -> Iterator[Tuple[PostProcessor, DenseFeatures]]:
        """Each module of ``stage`` and the features that leave it, in order; arguments and errors as in ``__call__``."""
        for module in self.modules:
            if module.stage == stage:
                with full_precision(features.patches):
                    result = module(features)
                _check_layout(module, features, result)
                features = result
                yield module, features

    def rescore(self, scores: PatchScores, guides: Mapping[Guide, GuideFeatures]) -> PatchScores:
        """Apply the modules of the stage ``'scores'`` in order.

        Args:
            scores: Of an image.
            guides: What ``self.guides`` give of its windows.

        Raises:
            ValueError: a module returns no ``PatchScores``, or scores of another shape.
        """
        for module in self.of_scores:
            with full_precision(scores.scores):
                result = module(scores.replace(guide=None if module.guide is None else guides[module.guide]))
            _check_scores(module, scores, result)
            scores = result
        return scores

    def rescored(self, patches: Tensor, layout: WindowLayout, guides: Mapping[Guide, GuideFeatures]) -> 'RescoredPatches':
        """The patches of an image whose scores go through the modules of the stage ``'scores'``, which are ``textwise``.

        Args:
            patches: ``(windows, N, E)``.
            layout: Where the windows lie.
            guides: What ``self.guides`` give of the windows.
        """
        modules = [(module, module.prepare(layout, guides[module.guide] if module.guide else None))
                   for module in self.of_scores if isinstance(module, TextwiseProcessor)]
        return RescoredPatches(patches, modules)


@dataclass(frozen=True)
class RescoredPatches:
    """Patches of an image whose scores go through modules, computed for the texts that are asked for.

    Args:
        patches: ``(windows, N, E)``.
        modules: The modules, and what ``TextwiseProcessor.prepare`` gave of each.
    """
    patches: Tensor
    modules: Sequence[Tuple[PostProcessor, Callable[[Tensor], Tensor]]]

    @property
    def device(self) -> torch.device:
        """The device of the scores."""
        return self.patches.device

    def __matmul__(self, columns: Tensor) -> Tensor:
        """Scores ``(windows, N, q)`` of text embeddings ``(E, q)``.

        Raises:
            ValueError: a module changes their shape.
        """
        scores = self.patches @ columns
        for module, function in self.modules:
            result = function(scores)
            if result.shape != scores.shape:
                raise ValueError(f'post-processor {type(module).__name__} must keep the shape of its input: it was given '
                                 f'scores {tuple(scores.shape)} and returned {tuple(result.shape)}')
            scores = result
        return scores


def _check_scores(module: PostProcessor, given: PatchScores, returned: PatchScores) -> None:
    name = type(module).__name__
    if not isinstance(returned, PatchScores):
        raise ValueError(f'post-processor {name} must return PatchScores, not {type(returned).__name__}')
    before, after = tuple(given.scores.shape), tuple(returned.scores.shape)
    if after != before or returned.layout != given.layout:
        raise ValueError(f'post-processor {name} must keep the shape and the layout of its input: it was given scores '
                         f'{before} and returned {after}')


def _check_layout(module: PostProcessor, given: DenseFeatures, returned: DenseFeatures) -> None:
    """Refuse other shapes than those given: the decoder would assign scores to the wrong pixels."""
    name = type(module).__name__
    if not isinstance(returned, DenseFeatures):
        raise ValueError(f'post-processor {name} must return DenseFeatures, not {type(returned).__name__}')
    before, after = _layout(given), _layout(returned)
    for field, value in before.items():
        if after[field] != value:
            raise ValueError(f'post-processor {name} must keep the shape of its input: it was given {field} {value} and '
                             f'returned {after[field]}')


def _layout(features: DenseFeatures) -> Dict[str, Any]:
    """The grid and the shape of each tensor, None for one that is absent."""
    tensors = dict(patches=features.patches, cls_token=features.cls_token, attn=features.attn)
    return dict(grid_size=features.grid_size,
                **{name: None if tensor is None else tuple(tensor.shape) for name, tensor in tensors.items()})
