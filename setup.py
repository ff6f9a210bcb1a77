"""Packaging; tool settings are in pyproject.toml."""
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION: dict = {}
exec((HERE / 'ovseg' / 'version.py').read_text(), VERSION)

setup(
    name='ovseg',
    version=VERSION['__version__'],
    description='Training-free open-vocabulary semantic segmentation with CLIP, as an MMSegmentation plugin',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.9',
    packages=find_packages(include=['ovseg', 'ovseg.*']),
    package_data={'ovseg': ['datasets/resources/**/*', 'models/encoders/tiny_clip/*', 'py.typed']},
    install_requires=[line for line in (HERE / 'requirements.txt').read_text().splitlines() if line and line[0] != '#'],
)
