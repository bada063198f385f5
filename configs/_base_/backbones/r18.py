r18 = dict(depth=18, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))
r18_channels = [64, 128, 256, 512]
