"""A local page to try a model in the browser; needs the extra ``page`` (gradio): python -m mmmaskdino.page --help."""
