"""The versions that `make test-oldest` installs are the lower bounds that requirements.txt promises."""
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

TESTS = Path(__file__).parent
OLDEST = dict(python_version='3.9', python_full_version='3.9.0', extra='')


def requirements(path):
    """Those that hold on the oldest Python."""
    lines = [line for line in path.read_text(encoding='utf-8').splitlines() if line and not line.startswith('#')]
    found = map(Requirement, lines)
    return [requirement for requirement in found if requirement.marker is None or requirement.marker.evaluate(OLDEST)]


CONSTRAINTS = requirements(TESTS / 'constraints-oldest.txt')
PINS = {canonicalize_name(constraint.name): constraint.specifier for constraint in CONSTRAINTS}


@pytest.mark.parametrize('constraint', CONSTRAINTS, ids=str)
def test_each_line_pins_one_version(constraint):
    specifier, = constraint.specifier
    assert specifier.operator == '==' and '*' not in specifier.version


@pytest.mark.parametrize('requirement', requirements(TESTS.parent / 'requirements.txt'), ids=str)
def test_a_requirement_is_pinned_at_its_lower_bound(requirement):
    lowest, = [Version(specifier.version) for specifier in requirement.specifier if specifier.operator == '>=']
    pin, = PINS[canonicalize_name(requirement.name)]
    assert Version(pin.version) == lowest


@pytest.mark.parametrize('requirement', requirements(TESTS.parent / 'requirements-dev.txt'), ids=str)
def test_a_requirement_of_the_tests_is_pinned_within_its_range(requirement):
    """One that is not sends pip's resolver on a search."""
    pin, = PINS[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin.version)
