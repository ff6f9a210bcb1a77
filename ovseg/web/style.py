"""Styles and scripts of the page. Nothing on it comes from another server, fonts included."""
from typing import Any, Dict

FONTS: Dict[str, Any] = dict(font=['system-ui', 'sans-serif'], font_mono=['ui-monospace', 'monospace'])

# Inputs and settings on the left, results on the right; on a narrow screen the results between the two.
CSS = """
#columns {display: grid; gap: 1rem; grid-template: "inputs results" auto "settings results" 1fr / minmax(0, 2fr) minmax(0, 3fr)}
#inputs {grid-area: inputs} #answers {grid-area: results} #settings {grid-area: settings}
@media (max-width: 850px) {
  #columns {grid-template: "inputs" "results" "settings" / minmax(0, 1fr)}
}
#examples .gallery {gap: 0.5rem}
#examples .gallery-item, #examples .gallery-item :is(div, img) {width: 4rem; height: 4rem; object-fit: cover}
#answers {scroll-margin-top: 0.5rem}
p.note {margin: 0 0 0.5rem; font-size: 0.85rem; line-height: 1.4}
table.legend {border: none !important; width: 100%; border-collapse: collapse; font-size: 0.95rem}
table.legend :is(td, th) {border: none !important}
table.legend :is(td, th) {padding: 0.25rem 0.6rem; text-align: right}
table.legend :is(td, th):first-child {text-align: left; overflow-wrap: anywhere}
table.legend tr {border: solid var(--border-color-primary) !important; border-width: 0 0 1px !important}
table.legend .swatch {display: inline-block; width: 1rem; height: 1rem; margin-right: 0.6rem; vertical-align: -0.15rem;
                      border: 1px solid var(--body-text-color-subdued)}
"""

# At the start of a request: errors of former ones go.
CLOSE_NOTICES = "() => document.querySelectorAll('.toast-close').forEach((button) => button.click())"
# When a model starts: its progress is shown, with Cancel above it on a narrow screen.
SHOW_PROGRESS = """() => ['painted', 'slider'].forEach(
  (id) => document.getElementById(id)?.scrollIntoView({block: 'nearest', behavior: 'smooth'}))"""
# At its end, on a screen where the results begin below the upper third or end above it: scroll there.
SHOW_RESULTS = """() => {
  const results = document.getElementById('answers'), {top, bottom} = results.getBoundingClientRect();
  if (top > innerHeight / 3 || bottom < innerHeight / 3) results.scrollIntoView({behavior: 'smooth'});
}"""
