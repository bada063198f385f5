# Half of the points in the objects' boxes, and each mask's loss in its own object's first; what it then does
# elsewhere is cut off at test time. Not in the paper: YOLACT's way.
_base_ = '../maskdino_r50_coco_instance_12e.py'

model = dict(panoptic_head=dict(criterion=dict(box_point_share=0.5)), test_cfg=dict(box_margin=0.1))
