"""What is trained and how: the model, a site's own training, distillation, and fine-tuning."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from fedefm.config.names import check_image_size, known_backbone
from fedefm.config.section import Name, Section


class ModelConfig(Section):
    """Which foundation model every site builds, from the same seed."""

    backbone: str = "vit_micro"
    image_size: int = Field(64, ge=16, le=1024)  # pixels; frames are resized to a square
    head: Literal["trainable", "frozen"] = "frozen"  # frozen: orthogonal, the same at all sites
    classes: tuple[Name, ...] = ()  # union of labels; empty: collected from local sites
    start: Name | None = None  # weights of the backbone, by their name in each site's file
    train_last: int | None = Field(None, ge=0)  # blocks at the end, and the head; null: all

    @field_validator("backbone")
    @classmethod
    def _the_backbone_is_known(cls, name: str) -> str:
        return known_backbone(name)

    @model_validator(mode="after")
    def _images_fit_the_backbone(self) -> "ModelConfig":
        check_image_size(self.backbone, self.image_size)
        return self


class TrainingConfig(Section):
    """What one site does with its own images; the same for every algorithm."""

    batch_size: int = Field(16, ge=1, le=65536)
    learning_rate: float = Field(0.03, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)  # kept at the site, never reset
    decay_at: float = Field(0.6, gt=0, le=1)  # share of the rounds after which the rate drops
    decay_to: float = Field(0.3, gt=0, le=1)  # factor of the drop
    gradient_norm: float = Field(5.0, gt=0)  # clip of a step's gradient, for stability, not privacy
    absent_penalty: float = Field(0.5, ge=0)  # lowers logits of labels absent at the site; 0: plain
    average_decay: float = Field(0.85, ge=0, lt=1)  # weight average over rounds; 0: last weights
    augment: Literal["none", "light"] = "light"


class DistillConfig(Section):
    """How returned experts teach (paper, eq. 11) and how their agreement is measured (eq. 3)."""

    beta: float = Field(0.0, ge=0, le=1)  # share of the teachers' part; 0: labels only
    temperature: float = Field(2.0, gt=0)
    weights: Literal["emd", "uniform"] = "emd"
    node_weights: Literal["cross", "uniform"] = "cross"
    gradient: Literal["detach", "through"] = "detach"  # through: EMD weights teach, too
    pool: int | None = Field(4, ge=1)  # token grid pooled to pool x pool; null: all tokens


class FinetuneConfig(Section):
    """Training for a task after pre-training; the options of `fedefm finetune`."""

    steps: int = Field(300, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    label_fraction: float = Field(1.0, gt=0, le=1)
    patience: int | None = Field(None, ge=1)  # looks at validation without a better one; null: all
