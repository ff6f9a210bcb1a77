import runpy
from pathlib import Path

import ovseg
from ovseg.models.segmentors.switches import COMPONENTS

TOOL = runpy.run_path(str(Path(ovseg.__file__).parents[1] / 'tools' / 'draw_pipeline.py'))


def test_the_steps_are_those_of_a_run():
    steps = TOOL['steps_of_a_run']()
    assert {step.key for step in steps} == {*COMPONENTS, 'data_preprocessor'}
    rows, columns = ((size - 224) // 112 + 1 for size in TOOL['SIZE'])
    patches = (224 // 16) ** 2
    expected = [(3, 336, 448), (rows * columns, 3, 224, 224), (6, patches, 192), (6, patches, 192), (6, patches, 128),
                (6, patches, 128), (6, 4 * patches, 128), (6, 4 * patches, 4), (3, 336, 448), (1, 336, 448)]
    assert [step.shape.split(' = ')[1] for step in steps] == [str(shape) for shape in expected]
