"""A local page to try a model in the browser, served by `mmmaskdino page`; needs the extra ``page`` (gradio)."""
