"""Everything that the results of a folder depend on, apart from the images."""
import json
from dataclasses import fields
from typing import Any, Dict, List, Mapping

import numpy as np
from mmengine.config import Config

from ovseg.apis.reading import Reading
from ovseg.apis.request import Request
from ovseg.digests import tensors_digest
from ovseg.evaluation.run_record import custom_code, software
from ovseg.models import CLIPSegmentor

SHOWN = 5  # differences that a message lists


def run_settings(cfg: Config, model: CLIPSegmentor, request: Request, reading: Reading,
                 max_pixels: int) -> Dict[str, Any]:
    """Settings that a resumed run must have in common with the first, as JSON holds them.

    Args:
        cfg: The config that ``model`` was built from.
        model: Its weights and region maps count.
        request: Classes and thresholds of the call.
        reading: How images are read.
        max_pixels: Larger TIFF files are cut into tiles.
    """
    settings = dict(model_settings(cfg, model, request), pipeline=cfg.test_dataloader.dataset.pipeline,
                    reading=reading._asdict(), max_pixels=max_pixels, confidence_bits=request.confidence_bits)
    return _as_json(settings)


def model_settings(cfg: Config, model: CLIPSegmentor, request: Request) -> Dict[str, Any]:
    """The part of ``run_settings`` that the labels of a preprocessed image depend on."""
    regions = model.image_encoder.regions
    decoder = {field.name: getattr(request.decoder, field.name) for field in fields(request.decoder) if field.name != 'refiner'}
    return _as_json(dict(
        model=cfg.model, custom_imports=custom_code(cfg), weights=tensors_digest(model.state_dict()),
        regions=regions and regions.digest(), classes=request.vocabulary.synonyms,
        templates=list(request.vocabulary.sentences), decoder=decoder, software=software()))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> List[str]:
    """The names of the settings that differ, the inner ones with dots, ``'model.decoder.logit_scale'``."""
    found: List[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += [f'{key}.{inner}' for inner in differences(old, new)]
        elif old != new:
            found.append(key)
    return found


def _as_json(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """``settings`` as JSON holds them."""
    return json.loads(json.dumps(settings, default=_plain))


def _plain(value: Any) -> Any:
    """A value that JSON does not hold: a NumPy number as one of Python, a class or an object of a component as its name."""
    if isinstance(value, np.generic):
        return value.item()
    return value.__name__ if isinstance(value, type) else type(value).__name__
