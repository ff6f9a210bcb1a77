"""The web page. Only ``app`` needs gradio, which comes with ``pip install "ovseg[web]"``."""
