import pytest
from mmengine.registry import Registry

from ovseg.components import build_component, build_registered, with_defaults
from ovseg.utils import check_arguments

SHAPES = Registry('shape', scope='ovseg-test')


class Shape:
    pass


@SHAPES.register_module()
class Square(Shape):
    def __init__(self, side, colour='red'):
        self.side, self.colour = side, colour


@SHAPES.register_module()
class Circle(Shape):
    def __init__(self, radius=1):
        self.radius = radius


def test_a_component_of_a_fixed_class():
    assert build_component('frame', Square, dict(side=3)).side == 3
    own = Square(2)
    assert build_component('frame', Square, own) is own


@pytest.mark.parametrize(('cfg', 'message'), [
    (dict(sied=3), "frame has no key 'sied'; did you mean 'side'"),
    (dict(colour='blue'), r"frame has no 'side' \(given: colour\)"),
    (3, 'frame=3 must be a dict with the keys of Square: side, colour'), ('Square', "frame='Square' must be a dict"),
    (Circle(), 'frame=.*Circle.* must be a dict')], ids=range(5))
def test_what_is_no_such_component_is_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        build_component('frame', Square, cfg)


@pytest.mark.parametrize('cfg', ['Circle', Circle, dict(type='Circle'), dict(type=Circle, radius=1), {}], ids=range(5))
def test_a_component_by_its_type(cfg):
    found = build_registered('frame', SHAPES, Shape, cfg, 'Circle')
    assert type(found) is Circle and found.radius == 1


def test_an_object_is_taken_as_it_is():
    own = Square(3)
    assert build_registered('frame', SHAPES, Shape, own, 'Circle') is own


@pytest.mark.parametrize(('cfg', 'message'), [
    ('Star', r"frame\.type='Star' is unknown; known: Circle"),
    (dict(type='Star'), r"frame\.type='Star' is unknown"),
    (dict(type=None), r'frame\.type=None is unknown'),
    (3, 'frame=3 must be a dict with a type, or a type alone; known: Circle'),
    (dict(radious=3), r"frame \(Circle\) has no key 'radious'; did you mean 'radius'.*_delete_=True"),
    (object(), 'frame=<object')], ids=range(6))
def test_an_unknown_component_is_refused(cfg, message):
    with pytest.raises(ValueError, match=message):
        build_registered('frame', SHAPES, Shape, cfg, 'Circle')


def test_without_a_default_a_type_is_needed():
    with pytest.raises(ValueError, match=r'frame\.type=None is unknown'):
        build_registered('frame', SHAPES, Shape, dict(radius=3))


def test_missing_arguments_are_all_named():
    with pytest.raises(ValueError, match=r"area has no 'width' and no 'height' \(given: nothing\)"):
        check_arguments('area', lambda width, height, depth=1: None, {})


@pytest.mark.parametrize('cfg', ['Circle', Circle, dict(type='Circle'), dict(type=Circle, radius=1)], ids=range(4))
def test_equal_components_have_equal_settings(cfg):
    assert with_defaults(SHAPES, cfg) == dict(type=Circle, radius=1)
    assert with_defaults(SHAPES, dict(type='Circle', radius=2)) != dict(type=Circle, radius=1)


@SHAPES.register_module()
class Polygon(Shape):
    def __init__(self, corners=3, **others):
        self.corners = corners


def test_keywords_that_a_class_hands_on_count():
    red, blue = (with_defaults(SHAPES, dict(type='Polygon', colour=colour)) for colour in ('red', 'blue'))
    assert red != blue and red == dict(type=Polygon, corners=3, others=red['others'], colour='red')


@pytest.mark.parametrize('type_', ['builtins.print', 'torch.nn.Identity', object, int, 'collections.OrderedDict'], ids=range(5))
def test_types_of_another_kind_are_refused(type_):
    with pytest.raises(ValueError, match=r'frame\.type=.* is no concrete Shape; known: Circle'):
        build_registered('frame', SHAPES, Shape, dict(type=type_))


def test_a_missing_keyword_is_named():
    with pytest.raises(ValueError, match=r"frame \(Square\) has no 'side'"):
        build_registered('frame', SHAPES, Shape, 'Square')
