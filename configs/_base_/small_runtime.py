# For small models: progress, and pictures of what the model sees and finds.
_base_ = 'default_runtime.py'

default_hooks = dict(progress=dict(type='ProgressHook'), pictures=dict(type='PictureHook'))
