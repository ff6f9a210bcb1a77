"""The web page. Only ``app`` needs gradio, which comes with the extra ``web``."""
