"""Where fine-tuning starts: at a foundation model, an autoencoder, an encoder, or from scratch."""

from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ConfigError, ModelError
from fedefm.finetune.checkpoint import (
    CLASSIFIER,
    DIAGNOSIS,
    FOUNDATION_NAME,
    FOUNDATION_SHA256,
    is_foundation,
    sha256_of,
)
from fedefm.model.checkpoint import read_checkpoint_info
from fedefm.model.encoder import is_encoder
from fedefm.model.foundation import FoundationModel, build_foundation
from fedefm.model.mae import is_masked_autoencoder
from fedefm.model.segmenter import Segmenter, build_segmenter, load_foundation

SMALLEST, LARGEST = 16, 1024  # pixels a side, as in a run file


@dataclass(frozen=True)
class Start:
    """A pre-trained checkpoint, or a backbone with fresh weights.

    With a checkpoint, backbone and image size are its own unless they are given; position
    embeddings are interpolated where the size differs. Of a masked autoencoder the encoder is
    taken. What is built then says in ``info`` which checkpoint it was, by SHA-256 and by the name
    of its run.

    The methods raise ModelError for a checkpoint or backbone that does not fit, and ConfigError
    where neither is given, or for an image size out of reach.
    """

    foundation: Path | None = None
    backbone: str = ""
    image_size: int = 0  # pixels; 0: the checkpoint's

    def segmenter(self, num_classes: int, seed: int) -> Segmenter:
        """A segmenter before its first step; its decoder is fresh."""
        backbone, size = self._body()
        segmenter = build_segmenter(backbone, num_classes, size, seed)
        self._fill(segmenter)
        return segmenter

    def classifier(self, labels: tuple[str, ...], seed: int) -> FoundationModel:
        """A classifier by several ``labels`` before its first step; its head is fresh."""
        return self._with_head(labels, seed, CLASSIFIER)

    def diagnosis(self, classes: tuple[str, ...], seed: int) -> FoundationModel:
        """A classifier by one of ``classes`` before its first step; its head is fresh."""
        return self._with_head(classes, seed, DIAGNOSIS)

    def __str__(self) -> str:
        if self.foundation is None:
            return "scratch"
        facts = self._facts()
        name = f" of run {facts[FOUNDATION_NAME]!r}" if FOUNDATION_NAME in facts else ""
        return f"foundation checkpoint sha256:{facts[FOUNDATION_SHA256]}{name}"

    def _with_head(self, classes: tuple[str, ...], seed: int, kind: str) -> FoundationModel:
        backbone, size = self._body()
        model = build_foundation(backbone, classes, size, "trainable", seed)
        model.info |= {"kind": kind}
        self._fill(model)
        return model

    def _body(self) -> tuple[str, int]:
        """Backbone and image size."""
        if self.image_size and not SMALLEST <= self.image_size <= LARGEST:
            raise ConfigError(
                f"image size {self.image_size} is not between {SMALLEST} and {LARGEST} pixels"
            )
        if self.foundation is None:
            if not self.backbone or not self.image_size:
                raise ConfigError("training from scratch needs a backbone and an image size")
            return self.backbone, self.image_size
        info = read_checkpoint_info(self.foundation)
        if not any(of(info) for of in (is_foundation, is_masked_autoencoder, is_encoder)):
            raise ModelError(
                f"checkpoint {self.foundation} is no foundation model; name the model.safetensors "
                "of a pre-training run, or start from scratch"
            )
        return self.backbone or info["backbone"], self.image_size or int(info["image_size"])

    def _fill(self, model: Segmenter | FoundationModel) -> None:
        if self.foundation is not None:
            load_foundation(model, self.foundation)
            model.info |= self._facts()

    def _facts(self) -> dict[str, str]:
        if self.foundation is None:
            return {}
        run = read_checkpoint_info(self.foundation).get("run")
        named = {FOUNDATION_NAME: run} if run else {}
        return {FOUNDATION_SHA256: sha256_of(self.foundation), **named}
