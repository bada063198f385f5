# A template for instances in COCO's format: put in folder, files and class names, and the number of classes.
_base_ = 'maskdino_r50_coco_instance_12e.py'

data_root = 'data/custom/'
metainfo = dict(classes=('cat', 'dog'))  # names of categories in the json files, in their order
model = dict(panoptic_head=dict(num_things_classes=2))
# load_from = 'maskdino.pth'  # weights to start from; classes are matched by name

train_dataloader = dict(
    dataset=dict(
        data_root=data_root, metainfo=metainfo, ann_file='annotations/train.json', data_prefix=dict(img='train/')
    )
)
val_dataloader = dict(
    dataset=dict(data_root=data_root, metainfo=metainfo, ann_file='annotations/val.json', data_prefix=dict(img='val/'))
)
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator
