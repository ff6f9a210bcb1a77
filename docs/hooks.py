"""Hooks of ``.mkdocs.yml``: pages of files that are not Markdown in ``docs``, and their links."""
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the READMEs of the presets, at the same place beside ``docs`` as in the repository, and the notebooks."""
    for path in sorted(ROOT.glob('configs/*/README.md')):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    for path in sorted(DOCS.glob('*.ipynb')):
        cells = nbformat.read(path, as_version=4).cells
        files.append(File.generated(config, f'{path.stem}.md', content='\n\n'.join(map(cell_as_markdown, cells))))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links that are right in the repository into what they are on the site, whose root is ``docs``."""
    return markdown.replace('](../configs/', '](configs/').replace('](../../docs/', '](../../').replace('.ipynb)', '.md)')


def cell_as_markdown(cell: nbformat.NotebookNode) -> str:
    """A cell's text, or its code and what came out of it."""
    if cell.cell_type == 'markdown':
        return cell.source
    return '\n\n'.join([f'```python\n{cell.source}\n```', *map(output_as_markdown, cell.outputs)])


def output_as_markdown(output: nbformat.NotebookNode) -> str:
    """Markdown of the text or the image that a cell has produced."""
    if output.output_type == 'stream':
        return f'```text\n{output.text}```'
    return f'![What the code draws](data:image/jpeg;base64,{output.data["image/jpeg"].strip()})'
