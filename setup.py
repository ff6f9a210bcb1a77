"""Packaging; tool settings are in pyproject.toml."""
from pathlib import Path
from typing import Dict, List

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION: dict = {}
exec((HERE / 'ovseg' / 'version.py').read_text(), VERSION)  # noqa: S102  importing ovseg needs what is being installed


class BuildWithConfigs(build_py):
    """Adds configs, tools and the model index as ``ovseg/.mim``, where mim looks for them; the source tree stays as it is."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for target, source in self.mim_files().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_output_mapping(self) -> Dict[str, str]:  # for editable installs
        return {**super().get_output_mapping(), **self.mim_files()}

    def get_source_files(self) -> List[str]:  # for source distributions
        return [*super().get_source_files(), *self.mim_files().values()]

    def mim_files(self) -> Dict[str, str]:
        """Pairs of target and source of each file."""
        sources = [path.relative_to(HERE) for pattern in ('configs/**/*', 'tools/**/*', 'model-index.yml')
                   for path in sorted(HERE.glob(pattern)) if path.is_file() and '__pycache__' not in path.parts]
        return {str(Path(self.build_lib, 'ovseg', '.mim', source)): str(source) for source in sources}


setup(
    name='ovseg',
    version=VERSION['__version__'],
    description='Training-free open-vocabulary semantic segmentation with CLIP, as an MMSegmentation plugin',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.9',
    packages=find_packages(include=['ovseg', 'ovseg.*']),
    package_data={'ovseg': ['*/resources/**/*', 'models/towers/tiny_clip/*', 'py.typed']},
    extras_require={'web': ['gradio>=6; python_version >= "3.10"'], 'converters': ['scipy'],
                    'export': [f'{name}; python_version >= "3.10"' for name in ('onnx', 'onnxruntime', 'onnxscript')],
                    'formats': ['pyarrow', 'pycocotools', 'rasterio'], 'geo': ['rasterio'], 'heif': ['pillow-heif'],
                    'ray': ['ray[data]>=2.51'],
                    'regions': ['scikit-image>=0.21', 'transformers>=4.57; python_version >= "3.10"']},
    entry_points={'console_scripts': ['ovseg=ovseg.cli:main']},
    install_requires=[line for line in (HERE / 'requirements.txt').read_text().splitlines() if line and line[0] != '#'],
    cmdclass={'build_py': BuildWithConfigs},
)
