"""Where fine-tuning starts: at a foundation model, or from scratch."""

from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ConfigError, ModelError
from fedefm.finetune.checkpoint import is_foundation, sha256_of
from fedefm.model.checkpoint import read_checkpoint_info
from fedefm.model.segmenter import Segmenter, build_segmenter, load_foundation

SMALLEST, LARGEST = 16, 1024  # pixels a side, as in a run file


@dataclass(frozen=True)
class Start:
    """A foundation checkpoint, or a backbone with fresh weights.

    With a checkpoint, backbone and image size are its own unless they are given; position
    embeddings are interpolated where the size differs.
    """

    foundation: Path | None = None
    backbone: str = ""
    image_size: int = 0  # pixels; 0: the checkpoint's

    def build(self, num_classes: int, seed: int) -> Segmenter:
        """The segmenter before its first step.

        Raises ModelError for a checkpoint or backbone that does not fit, ConfigError where neither
        is given, or for an image size out of reach.
        """
        if self.image_size and not SMALLEST <= self.image_size <= LARGEST:
            raise ConfigError(
                f"image size {self.image_size} is not between {SMALLEST} and {LARGEST} pixels"
            )
        if self.foundation is None:
            if not self.backbone or not self.image_size:
                raise ConfigError("training from scratch needs a backbone and an image size")
            return build_segmenter(self.backbone, num_classes, self.image_size, seed)
        info = read_checkpoint_info(self.foundation)
        if not is_foundation(info):
            raise ModelError(
                f"checkpoint {self.foundation} is no foundation model; name the model.safetensors "
                "of a pre-training run, or start from scratch"
            )
        backbone = self.backbone or info["backbone"]
        size = self.image_size or int(info["image_size"])
        segmenter = build_segmenter(backbone, num_classes, size, seed)
        load_foundation(segmenter, self.foundation)
        return segmenter

    def __str__(self) -> str:
        if self.foundation is None:
            return "scratch"
        return f"foundation checkpoint sha256:{sha256_of(self.foundation)}"
