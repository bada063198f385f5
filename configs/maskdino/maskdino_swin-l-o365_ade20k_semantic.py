# Fine-tuning after detection pre-training on Objects365 (paper, section 4).
_base_ = 'maskdino_swin-l_ade20k_semantic.py'

# Classes are matched by name; masks and queries start at their initialisation.
load_from = 'work_dirs/maskdino_swin-l_objects365_detection/iter_708000.pth'
