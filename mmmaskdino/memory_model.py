"""The memory of a training step as a formula of batch and image size; without torch."""

from typing import NamedTuple

# Logits in all drawn points and the like, a part at a time (mmmaskdino.ops.device.parts): four of
# 256 MiB, and what the framework itself takes.
TEMPORARIES = 4 * 2**28 + 2**29
USED_SHARE = 0.9  # of a GPU


class TrainingMemory(NamedTuple):
    """In bytes."""

    fixed: float
    """Parameters, gradients and moments; in mixed precision the parameters once more, in half."""
    per_image: float
    """What an image stores for the backward pass whatever its size: queries and masks in points."""
    per_pixel: float
    """What each pixel of the padded image stores: backbone, encoder, mask features."""

    def of_image(self, size: tuple[int, int]) -> float:
        """What an image of ``size`` (h, w) stores."""
        return self.per_image + self.per_pixel * size[0] * size[1]

    def largest_batch(self, gib: float, size: tuple[int, int]) -> int:
        """Images of ``size`` (h, w) that a GPU of ``gib`` GiB holds, 0 if none; a tenth of it stays free."""
        left = USED_SHARE * gib * 2**30 - self.fixed - TEMPORARIES
        return max(0, int(left / self.of_image(size)))

    def smallest_gpu(self, size: tuple[int, int]) -> float:
        """GiB of a GPU that holds one image of ``size`` (h, w)."""
        return (self.fixed + TEMPORARIES + self.of_image(size)) / USED_SHARE / 2**30
