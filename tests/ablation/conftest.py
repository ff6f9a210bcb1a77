from pathlib import Path

import pytest
import torch
from mmseg.evaluation import IoUMetric

import ovseg
from ovseg.ablation.rows import RowWriter
from ovseg.vocabulary import Vocabulary
from ovseg.vocabulary.word_record import word_record

CLASSES = ('sky', 'sand', 'water', 'stone', 'grass')


@pytest.fixture(scope='session')
def demo():
    return str(Path(ovseg.__file__).parents[1] / 'configs' / 'demo' / 'gated_tiny-clip_demo.py')


@pytest.fixture
def finish(tmp_path):
    """Writes the finished rows of settings on drawn labels; returns what ``IoUMetric.results`` would hold for each."""
    def write(settings, images=7, stamps=None):
        stamps = stamps or {f'{index}.jpg': dict(image=[3, 5], mask=[7, 11]) for index in range(images)}
        held = []
        for place, setting in enumerate(settings):
            generator = torch.Generator().manual_seed(3)  # the same ground_truth for all
            areas, counts = [], []
            for _ in stamps:
                ground_truth, noise = (torch.randint(0, 4, (31, 37), generator=generator) for _ in range(2))
                right = torch.rand(31, 37, generator=generator) < 0.3 + 0.07 * (place % 5)
                areas.append(IoUMetric.intersect_and_union(torch.where(right, ground_truth, noise), ground_truth, 5, 255))
                counts.append(torch.stack(areas[-1])[[0, 2, 3]].int().numpy())
            writer = RowWriter(tmp_path, setting.digest, stamps)
            writer.keep([])
            for name, count in zip(stamps, counts):
                writer.add(name, count)
            writer.finish(list(stamps), dict(classes=CLASSES, words=word_record(Vocabulary(list(CLASSES), 'plain'))))
            held.append(areas)
        return held
    return write
