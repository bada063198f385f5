"""Denoising: noised copies of the ground truth whose matching is known."""

from collections.abc import Sequence

import torch
from mmdet.registry import TASK_UTILS
from mmengine.dist import all_reduce, get_world_size
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmaskdino.models.utils.boxes import clamp_boxes
from mmmaskdino.structures import DenoisingGroups, Pairs, Targets


@TASK_UTILS.register_module()
class DenoisingGenerator(BaseModule):
    """Turns the ground truth into groups of noised queries (DN-DETR; paper, section 3.2).

    Each group holds every object of an image once. A group sees itself and the matching queries, the matching queries
    see no group. Masks are denoised through their boxes.

    Args:
        num_classes (int): Classes to embed.
        dim (int): Channels of a query.
        num_queries (int): Budget of denoising queries per image. There is always one group: of an image with more
            objects, as many are drawn at random.
        label_noise (float): Probability that a label is replaced by a uniformly random one (maybe itself), in [0, 1].
        box_noise (float): Largest shift of a centre in half sizes of the box, and of a size in sizes.

    Raises:
        ValueError: If an argument is out of range.
    """

    # Noised copies of an object in a group. The first is to become the object again.
    copies = 1

    def __init__(
        self,
        num_classes: int,
        dim: int = 256,
        num_queries: int = 100,
        label_noise: float = 0.2,
        box_noise: float = 0.4,
    ) -> None:
        super().__init__()
        if num_queries < 1 or not 0 <= label_noise <= 1 or box_noise < 0:
            raise ValueError(
                'denoising needs num_queries >= 1, label_noise in [0, 1] and box_noise >= 0, got '
                f'num_queries={num_queries}, label_noise={label_noise}, box_noise={box_noise}'
            )
        self.num_classes, self.num_queries = num_classes, num_queries
        self.label_noise, self.box_noise = label_noise, box_noise
        self.label_embedding = nn.Embedding(num_classes, dim)

    def most_objects(self, targets: Sequence[Targets]) -> int:
        """Objects of the fullest image of the batch, at most the budget; all ranks make the same groups of them.

        With several processes it waits for the other ranks, the one place of a training step that does. So it is asked
        before the backbone runs, when there is nothing else to wait for.
        """
        largest = min(max(len(t.labels) for t in targets), self.num_queries)
        if get_world_size() > 1:
            shared = torch.tensor(largest, device=targets[0].labels.device)
            all_reduce(shared, op='max')
            largest = int(shared)
        return largest

    def forward(
        self, targets: Sequence[Targets], num_matching: int, most_objects: int | None = None
    ) -> DenoisingGroups | None:
        """Make the groups of a batch.

        Args:
            targets (Sequence[Targets]): Ground truth per image.
            num_matching (int): Number of matching queries, which follow the groups.
            most_objects (int | None): As of :meth:`most_objects`; None: it is asked here.

        Returns:
            DenoisingGroups | None: The groups; None in a batch (of all ranks) without objects.
        """
        size = self.most_objects(targets) if most_objects is None else most_objects
        if size == 0:
            return None
        objects = [self._choose_objects(t) for t in targets]
        counts = [len(o) for o in objects]
        num_groups = self.num_queries // size  # at least 1: no image has more chosen objects than there are queries
        device = targets[0].labels.device
        num_copies, group_size = num_groups * self.copies, size * self.copies
        labels = torch.cat([t.labels[o] for t, o in zip(targets, objects, strict=True)]).repeat(num_copies)
        boxes = torch.cat([t.boxes[o] for t, o in zip(targets, objects, strict=True)]).repeat(num_copies, 1)
        images, slots = self._slots(counts, num_groups, size, device)

        content = self.label_embedding(self.noise_labels(labels))
        shape = (len(targets), num_groups * group_size)
        # Slots of images with fewer objects: content 0 and box logit 0; they learn to be no object.
        filled_content = content.new_zeros(*shape, content.shape[-1]).index_put((images, slots), content)
        filled_boxes = boxes.new_full((*shape, 4), 0.5).index_put((images, slots), self.noise_boxes(boxes))
        return DenoisingGroups(
            filled_content,
            filled_boxes,
            self._attention_mask(num_groups, group_size, num_matching, device),
            self._pairs(objects, num_groups, group_size),
            num_groups,
        )

    def _choose_objects(self, targets: Targets) -> Tensor:
        num_gts, device = len(targets.labels), targets.labels.device
        if num_gts <= self.num_queries:
            return torch.arange(num_gts, device=device)
        return torch.randperm(num_gts, device=device)[: self.num_queries]

    def noise_labels(self, labels: Tensor) -> Tensor:
        """Replace labels at random; shape and range stay."""
        flipped = torch.rand(labels.shape, device=labels.device) < self.label_noise
        return torch.where(flipped, torch.randint_like(labels, self.num_classes), labels)

    def noise_boxes(self, boxes: Tensor) -> Tensor:
        """Move and scale (n, 4) cxcywh boxes at random, inside [0, 1]; the first ``n / copies`` are first copies."""
        return self.shift_boxes(boxes, torch.rand_like(boxes))

    def shift_boxes(self, boxes: Tensor, draws: Tensor) -> Tensor:
        """Apply uniform ``draws`` in [0, 1) of the boxes' shape as noise."""
        return clamp_boxes(boxes + (2 * draws - 1) * _reach(boxes) * self.box_noise)

    def _slots(self, counts: Sequence[int], num_groups: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Image and slot of each noised object; the order is copy by copy, group by group, image by image."""
        images = torch.cat([torch.full((n,), i, device=device) for i, n in enumerate(counts)])
        within = torch.cat([torch.arange(n, device=device) for n in counts])
        starts = torch.arange(num_groups * self.copies, device=device).view(num_groups, self.copies).mT * size
        return images.repeat(num_groups * self.copies), (starts.reshape(-1, 1) + within).flatten()

    @staticmethod
    def _attention_mask(num_groups: int, group_size: int, num_matching: int, device: torch.device) -> Tensor:
        group = torch.arange(num_groups * group_size + num_matching, device=device) // group_size
        group = group.clamp(max=num_groups)  # the matching queries share the last number
        return (group[:, None] != group[None]) & (group[None] < num_groups)

    @staticmethod
    def _pairs(objects: Sequence[Tensor], num_groups: int, group_size: int) -> Pairs:
        device = objects[0].device
        starts = torch.arange(num_groups, device=device)[:, None] * group_size
        queries = [(starts + torch.arange(len(o), device=device)).flatten() for o in objects]
        gts = [o.repeat(num_groups) for o in objects]
        per_image = tuple(len(q) for q in queries)
        images = torch.cat([torch.full_like(q, i) for i, q in enumerate(queries)])
        return Pairs(torch.zeros_like(images), images, torch.cat(queries), torch.cat(gts), per_image)


@TASK_UTILS.register_module()
class ContrastiveDenoisingGenerator(DenoisingGenerator):
    """Denoising with negatives (DINO): beside each noised object a second one, further off, that is to be no object.

    A group holds the positives of :class:`DenoisingGenerator` and then as many negatives: of the same objects, labels
    noised in the same way, boxes moved and scaled by ``box_noise`` to twice as much. What lies beside an object learns
    not to claim it, which is what crowded images and models of one class need. DINO's settings are ``box_noise=1.0``
    and ``label_noise=0.25``.

    Args:
        settings: The arguments of :class:`DenoisingGenerator`; the negatives come on top of ``num_queries``.
    """

    copies = 2

    def noise_boxes(self, boxes: Tensor) -> Tensor:
        """Move and scale (n, 4) cxcywh boxes at random, inside [0, 1]; the second half, the negatives, further."""
        noise = torch.rand_like(boxes)
        noise[len(noise) // 2 :] += 1
        noise = noise * _reach(boxes) * self.box_noise
        moved = torch.where(torch.rand_like(boxes) < 0.5, boxes - noise, boxes + noise)
        # What would shrink to nothing grows instead: a box without area is no lesson.
        vanished = torch.cat([torch.zeros_like(moved[:, 2:], dtype=torch.bool), moved[:, 2:] <= 0], -1)
        return clamp_boxes(torch.where(vanished, boxes + noise, moved))


def _reach(boxes: Tensor) -> Tensor:
    """How far a noise of 1 goes: half sizes for the centres of cxcywh boxes (..., 4), sizes for their sizes."""
    return torch.cat([boxes[..., 2:] / 2, boxes[..., 2:]], -1)
