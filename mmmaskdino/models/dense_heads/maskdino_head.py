"""MaskDINOHead: everything after the backbone, built from parts that can each be swapped or left out."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmengine.model import BaseModule
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmmaskdino.models.layers.prediction_heads import PredictionHeads
from mmmaskdino.models.utils.targets import targets_from_samples
from mmmaskdino.structures import DenoisingGroups, GroundTruth, HeadOutput, Memory, QueryInit, StagePrediction, Targets

# Height and width of each image as a fraction of the padded canvas.
Sizes = list[tuple[float, float]]


@MODELS.register_module()
class MaskDINOHead(BaseModule):
    """Everything after the backbone (paper, figure 2).

    .. code:: text

        backbone maps ---> pixel_decoder ---> memory ------> query_init --> content, boxes ---+
                                |                                |                            |
                                |                                +--> stage of the encoder    |
                                |                                                             v
        ground truth ----> denoising --> noised content, boxes -------------------------> decoder <-- memory
             |                  |                                                             |
             |                  +--> known pairs                            hidden states, references per layer
             |                       |                                                        v
             |                       |      encoder, initial queries, layers <------------- heads
             v                       v                        |
        criterion: match, sample points, compare  <-----------+------ mask features (of the pixel decoder)

    At test time there is no denoising, and the heads see the last layer alone. What several parts need is written here
    once and handed to them: channels, heads, points, levels, class counts.

    Args:
        num_things_classes (int): Thing classes.
        num_stuff_classes (int): Stuff classes; 0: no panoptic model.
        in_channels (Sequence[int]): Channels of the backbone's maps, finest first.
        pixel_decoder (dict): Config of the pixel decoder.
        query_init (dict): Config of the query start.
        decoder (dict): Config of the transformer decoder.
        criterion (dict): Config of the criterion.
        denoising (dict | None): Config of the denoising generator; None: no denoising.
        dim (int): Channels of tokens and queries.
        mask_dims (int | None): Channels of the mask features; None: boxes only.
        num_heads (int): Attention heads of encoder and decoder.
        num_points (int): Sampled points per head and level of the deformable attention.
        mask_padding (bool): Whether attention and query selection leave out the padding of images that are smaller than
            the canvas. The released weights were trained and evaluated without.
        num_layers_at_test (int | None): Decoder layers that predict at test time; 0: the initial queries; None: all.
        box_prior (dict | None): Config of what the box of a query adds to its mask (:class:`BoxPrior`); None, as in the
            paper: nothing.
        one_to_many (dict | None): Config of a second group of queries in training (:class:`OneToManyGroup`); None, as
            in the paper: none.
        init_cfg (dict | None): Initialisation config.

    Raises:
        ValueError: If masks are wanted by one part and left out in another, a part sets what the head hands to it, or
            there are fewer layers than are to predict.
    """

    def __init__(
        self,
        num_things_classes: int,
        num_stuff_classes: int,
        in_channels: Sequence[int],
        pixel_decoder: dict,
        query_init: dict,
        decoder: dict,
        criterion: dict,
        denoising: dict | None = None,
        dim: int = 256,
        mask_dims: int | None = 256,
        num_heads: int = 8,
        num_points: int = 4,
        mask_padding: bool = True,
        num_layers_at_test: int | None = None,
        box_prior: dict | None = None,
        one_to_many: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.num_things_classes = num_things_classes
        self.num_stuff_classes = num_stuff_classes
        self.num_classes = num_things_classes + num_stuff_classes
        self.mask_padding = mask_padding
        attention = dict(dim=dim, num_heads=num_heads, num_points=num_points)
        self.pixel_decoder = MODELS.build(
            with_shared('pixel_decoder', pixel_decoder, in_channels=in_channels, mask_dims=mask_dims, **attention)
        )
        num_levels = len(self.pixel_decoder.encoder_strides)
        self.query_init = MODELS.build(with_shared('query_init', query_init, dim=dim))
        self.decoder = MODELS.build(with_shared('decoder', decoder, num_levels=num_levels, **attention))
        num_layers = len(self.decoder.layers)
        self.num_layers_at_test = num_layers if num_layers_at_test is None else num_layers_at_test
        if not 0 <= self.num_layers_at_test <= num_layers:
            raise ValueError(
                f'panoptic_head.num_layers_at_test must be 0 to {num_layers} (decoder.num_layers), got '
                f'{num_layers_at_test}'
            )
        self.denoising = denoising and TASK_UTILS.build(
            with_shared('denoising', denoising, num_classes=self.num_classes, dim=dim)
        )
        self.one_to_many = one_to_many and TASK_UTILS.build(one_to_many)
        if self.one_to_many is not None and not getattr(self.query_init, 'selects_more', False):
            raise ValueError(
                'panoptic_head.one_to_many takes further tokens of the encoder: it needs a query_init of type '
                f'EncoderQuerySelection, got {type(self.query_init).__name__}'
            )
        self.criterion = MODELS.build(criterion)
        loss_cls = self.criterion.loss_cls
        if box_prior is not None and mask_dims is None:
            raise ValueError(
                'A model without masks (mask_dims=None) has no use for panoptic_head.box_prior: set it to None'
            )
        self.heads = PredictionHeads(
            dim,
            self.num_classes + loss_cls.num_extra_channels,
            mask_dims,
            loss_cls.prior_prob,
            box_prior and MODELS.build(with_shared('box_prior', box_prior, dim=dim)),
        )
        self.with_masks = mask_dims is not None
        if self.with_masks != self.criterion.with_masks:
            raise ValueError(
                'A model with masks needs panoptic_head.mask_dims and a mask loss (panoptic_head.criterion.loss_mask '
                f'or loss_dice), one without needs neither: got mask_dims={mask_dims}, '
                f'{"a" if self.criterion.with_masks else "no"} mask loss'
            )
        if not self.with_masks and getattr(self.query_init, 'initial_boxes', 'predicted') != 'predicted':
            raise ValueError(
                'A model without masks (mask_dims=None) starts from predicted boxes: set '
                f"panoptic_head.query_init.initial_boxes='predicted', got {self.query_init.initial_boxes!r}"
            )

    @property
    def use_sigmoid(self) -> bool:
        """Whether classes are independent (focal); else the last class logit is no object."""
        return self.criterion.loss_cls.num_extra_channels == 0

    def forward(self, features: Sequence[Tensor], sizes: Sizes | None = None) -> tuple[StagePrediction, Tensor | None]:
        """Prediction of the last decoder layer, or of the one that ``num_layers_at_test`` says; no later layer runs.

        Args:
            features (Sequence[Tensor]): Backbone maps (bs, channels, h, w), finest first.
            sizes (Sizes | None): As of :func:`valid_sizes`, numbers or tensors; None where nothing is padded.

        Returns:
            tuple[StagePrediction, Tensor | None]: The prediction and the mask features (bs, mask_dims, h / 4, w / 4).
        """
        mask_features, memory, start = self._start(features, sizes)
        if self.num_layers_at_test == 0:
            return self.heads.initial_stage(start.content, start.boxes), mask_features
        layer = self.decoder(start.content, start.boxes, memory, self.heads, num_layers=self.num_layers_at_test)[-1]
        return self.heads(layer.hidden_state, layer.references), mask_features

    def ground_truth(self, samples: SampleList, device: torch.device) -> GroundTruth:
        """What :meth:`loss` compares with. Asked for before the backbone runs, it makes no device wait.

        Args:
            samples (SampleList): Ground truth.
            device (torch.device): Device of the model.
        """
        targets = self.targets(samples, device)
        return GroundTruth(targets, self.denoising.most_objects(targets) if self.denoising else 0)

    def targets(self, samples: SampleList, device: torch.device) -> list[Targets]:
        """Training targets on the device."""
        return targets_from_samples(samples, self.num_things_classes, self.num_stuff_classes, self.with_masks, device)

    def loss(
        self, features: Sequence[Tensor], samples: SampleList, truth: GroundTruth | None = None
    ) -> dict[str, Tensor]:
        """Training losses of a batch.

        Args:
            features (Sequence[Tensor]): Backbone maps (bs, channels, h, w), finest first.
            samples (SampleList): Ground truth.
            truth (GroundTruth | None): The same as of :meth:`ground_truth`; None: it is made here.

        Returns:
            dict[str, Tensor]: Named losses (see :class:`MaskDINOCriterion`).
        """
        truth = self.ground_truth(samples, features[0].device) if truth is None else truth
        output = self.forward_train(features, truth.targets, valid_sizes(samples), truth.most_objects)
        return self.criterion(output, truth.targets)

    def forward_train(
        self,
        features: Sequence[Tensor],
        targets: Sequence[Targets],
        sizes: Sizes | None = None,
        most_objects: int | None = None,
    ) -> HeadOutput:
        """Predictions of all supervised stages.

        Args:
            features (Sequence[Tensor]): Backbone maps (bs, channels, h, w), finest first.
            targets (Sequence[Targets]): Ground truth, the source of the denoising queries.
            sizes (Sizes | None): As of :func:`valid_sizes`.
            most_objects (int | None): Of :class:`GroundTruth`; None: it is counted here.

        Returns:
            HeadOutput: All stages.
        """
        more = {} if self.one_to_many is None else dict(num_more=self.one_to_many.num_queries)
        mask_features, memory, start = self._start(features, sizes, **more)
        # Unified denoising: noised boxes and labels are to become objects with their masks (paper, section 3.3).
        groups = self.denoising and self.denoising(targets, start.content.shape[1], most_objects)
        content, boxes = self._join(start, groups)
        mask = None if groups is None else groups.attention_mask
        if self.one_to_many is not None:
            mask = self.one_to_many.set_apart(mask, content, start.content.shape[1] - self.query_init.num_queries)
        layers = self.decoder(content, boxes, memory, self.heads, mask)
        # The heads see all layers at once: few large products instead of many small ones.
        layers = self.heads(*(torch.stack(field) for field in zip(*layers, strict=True)))
        initial = self.heads.initial_stage(content, boxes)
        stages = initial.map(lambda first, others: torch.cat([first[None], others]), layers)
        encoder = start.encoder_stage and start.encoder_stage.map(lambda field: field[None])
        output = HeadOutput(encoder, stages, None, None, mask_features, start.further)
        if groups is not None:
            num_denoising = groups.content.shape[1]
            first = 0 if self.query_init.supervises_initial_denoising else 1
            denoising = stages.map(lambda field: field[first:, :, :num_denoising])
            matching = stages.map(lambda field: field[:, :, num_denoising:])
            output = output._replace(matching=matching, denoising=denoising, groups=groups)
        return output if self.one_to_many is None else self.one_to_many.split(output, self.query_init.num_queries)

    def _start(
        self, features: Sequence[Tensor], sizes: Sizes | None, **more: int
    ) -> tuple[Tensor | None, Memory, QueryInit]:
        mask_features, memory = self.pixel_decoder(features, sizes if self.mask_padding else None)
        if self.heads.box_prior is not None:
            mask_features = self.heads.box_prior.extend(mask_features)
        # Unified query selection: the encoder's best tokens start the decoder (paper, section 3.3).
        return mask_features, memory, self.query_init(memory, mask_features, self.heads, **more)

    def _join(self, start: QueryInit, groups: DenoisingGroups | None) -> tuple[Tensor, Tensor]:
        """Denoising queries first, then the matching ones."""
        if groups is not None:
            content = torch.cat([groups.content.to(start.content.dtype), start.content], 1)
            return content, torch.cat([groups.boxes, start.boxes], 1)
        if self.denoising is None:
            return start.content, start.boxes
        # A batch without objects still touches the label embedding: with distributed training, all ranks must.
        return start.content + 0 * self.denoising.label_embedding.weight.sum(), start.boxes


def with_shared(name: str, config: dict, owner: str = 'panoptic_head', **shared: Any) -> dict:
    """Config of a part with what several parts share; one that sets it itself is rejected, since it would be ignored.

    Args:
        name (str): Key of the part, for the message.
        config (dict): Config of the part.
        owner (str): Where the shared values are set, for the message.
        shared (Any): Shared values by key.

    Returns:
        dict: A new config.

    Raises:
        ValueError: If the part sets a shared key.
    """
    doubled = sorted(set(config) & set(shared))
    if doubled:
        raise ValueError(f'{name} must not set {doubled}: set them once, in {owner}, which hands them to its parts')
    return dict(config, **shared)


def valid_sizes(samples: Sequence[BaseDataElement]) -> Sizes | None:
    """Height and width of each image as a fraction of the canvas; None where nothing is padded."""
    sizes = []
    for sample in samples:
        (h, w), (canvas_h, canvas_w) = sample.img_shape[:2], sample.batch_input_shape[:2]
        sizes.append((h / canvas_h, w / canvas_w))
    return None if all(size == (1, 1) for size in sizes) else sizes
