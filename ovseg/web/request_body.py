"""The JSON of a request, checked against the inputs of the endpoint that it is for."""
import json
import os
import re
from typing import Any, Callable, Dict

import gradio as gr

# The values that an input takes from the page. A component that is not listed here cannot be an input: see checked_body().
ACCEPTED: Dict[type, Callable[[Any, Any], bool]] = {
    gr.Textbox: lambda component, value: isinstance(value, str),
    gr.Checkbox: lambda component, value: isinstance(value, bool),
    gr.Slider: lambda component, value: type(value) in (int, float) and component.minimum <= value <= component.maximum,
    gr.CheckboxGroup: lambda component, value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    gr.Dropdown: lambda component, value: isinstance(value, str) and value in [choice for _, choice in component.choices],
    gr.Dataset: lambda component, value: type(value) is int and 0 <= value < len(component.samples),
    gr.State: lambda component, value: value is None,  # the server keeps it
}
SESSION = re.compile(r'\w{1,64}', re.ASCII)
GONE = 'this image is not on the server: drop it again'


def checked_body(page: gr.Blocks, content: bytes, queued: bool) -> bytes:
    """A new body with the parts of ``content`` that the page sends, so that gradio sees nothing else.

    Args:
        page: Holds the endpoints and the files that were uploaded.
        content: The body as it came.
        queued: Whether the endpoint must be one that the queue calls.

    Raises:
        ValueError: JSON that the page does not send, or an image that is no upload or example; the message is the same
            whether or not there is such a file.
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError('the body is no JSON') from error
    if not isinstance(body, dict):
        raise ValueError('the body is no JSON object')
    index, session, data, event = (body.get(key) for key in ('fn_index', 'session_hash', 'data', 'event_data'))
    function = page.fns.get(index) if type(index) is int else None
    if function is None or function.fn is None or function.queue != queued:
        raise ValueError('fn_index is not that of an endpoint')
    if not (isinstance(session, str) and SESSION.fullmatch(session)):
        raise ValueError('session_hash must be 1 to 64 letters, digits or underscores')
    if not (isinstance(data, list) and len(data) == len(function.inputs)):
        raise ValueError(f'data must be a list of {len(function.inputs)} values')
    rebuilt = dict(fn_index=index, session_hash=session,
                   data=[_checked_value(page, component, value) for component, value in zip(function.inputs, data)])
    if any(name == 'select' for _, name in function.targets):
        rebuilt['event_data'] = dict(index=_checked_place(event), value=None)
    return json.dumps(rebuilt, ensure_ascii=False).encode()  # UnicodeEncodeError, of half a surrogate pair, is a ValueError


def _checked_value(page: gr.Blocks, component: Any, value: Any) -> Any:
    """The value of an input as gradio gets it."""
    if type(component) is gr.Image:
        return None if value is None else _checked_file(page, value)
    if not ACCEPTED[type(component)](component, value):
        raise ValueError(f'{component.label or "the value"} is not what the page sends')
    return value


def _checked_file(page: gr.Blocks, value: Any) -> Dict[str, Any]:
    """A file that gradio may open: one whose very path this server handed out.

    The path is compared, not resolved, so that nothing of the file system is touched for any other.
    """
    path = value.get('path') if isinstance(value, dict) else None
    if not isinstance(path, str) or not (path in page.upload_file_set or path in _examples(page)) or not os.path.isfile(path):
        raise ValueError(GONE)
    os.utime(os.path.dirname(path))  # what is in use is deleted last: see remove_oldest()
    return dict(path=path, meta=dict(_type='gradio.FileData'))


def _examples(page: gr.Blocks) -> set:
    """The paths of the files that can be picked on the page."""
    return {file['path'] for component in page.blocks.values() if type(component) is gr.Dataset
            for sample in component.samples for file in sample}


def _checked_place(event: Any) -> Any:
    """The pixel that was clicked, ``[x, y]``."""
    place = event.get('index') if isinstance(event, dict) else None
    if not (isinstance(place, list) and len(place) == 2 and all(type(number) is int and number >= 0 for number in place)):
        raise ValueError('event_data has no index of a pixel')
    return place
