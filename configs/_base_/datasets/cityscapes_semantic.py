# Cityscapes, 19 classes: short side 0.5 to 2.0 times 1024, crops of 512 x 1024.
_base_ = 'ade20k_semantic.py'

dataset_type = 'CheckedCityscapesDataset'
data_root = 'data/cityscapes/'
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(
        type='RandomChoiceResize',
        scales=[(4096, int(1024 * ratio / 10)) for ratio in range(5, 21)],
        resize_type='AntialiasedResize',
        keep_ratio=True,
        labels='corner',  # as the reference reads them
    ),
    dict(type='RandomCrop', crop_size=(512, 1024)),
    *_base_.train_pipeline[4:6],
    dict(type='Pad', size=(1024, 512), pad_val=dict(img=128, seg=255)),
    _base_.train_pipeline[7],
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='AntialiasedResize', scale=(2048, 1024), keep_ratio=True),
    *_base_.test_pipeline[2:],
]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader
