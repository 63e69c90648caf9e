"""What is trained and how: the model, a site's own training, distillation, and fine-tuning."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from fedefm.config.names import ScanMode, check_image_size, known_backbone
from fedefm.config.section import Name, Section

OptimizerName = Literal["sgd", "adamw"]
# A setting that would be without effect was meant to have one: setting -> choice that it is of.
ONLY_WITH = {
    "momentum": ("optimizer", "sgd"),
    "weight_decay": ("optimizer", "adamw"),
    "decay_at": ("schedule", "drop"),
    "decay_to": ("schedule", "drop"),
    "warmup_rounds": ("schedule", "cosine"),
    "warmup_steps": ("schedule", "cosine"),
}


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
    optimizer: OptimizerName = "sgd"  # what it keeps stays at the site, and is never reset
    momentum: float = Field(0.9, ge=0, lt=1)  # of sgd
    weight_decay: float = Field(0.0, ge=0)  # of adamw
    schedule: Literal["drop", "cosine"] = "drop"  # of the rate over the rounds
    decay_at: float = Field(0.6, gt=0, le=1)  # drop: share of the rounds after which it falls
    decay_to: float = Field(0.3, gt=0, le=1)  # drop: to which part of it
    warmup_rounds: int = Field(0, ge=0)  # cosine: rounds in which it rises
    gradient_norm: float = Field(5.0, gt=0)  # clip of a step's gradient, for stability, not privacy
    absent_penalty: float = Field(0.5, ge=0)  # lowers logits of labels absent at the site; 0: plain
    average_decay: float = Field(0.85, ge=0, lt=1)  # weight average over rounds; 0: last weights
    augment: Literal["none", "light"] = "light"

    @model_validator(mode="after")
    def _settings_go_together(self) -> "TrainingConfig":
        _refuse_ignored(self)
        return self


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
    optimizer: OptimizerName = "sgd"
    weight_decay: float = Field(0.0, ge=0)  # of adamw
    schedule: Literal["poly", "cosine"] = "poly"  # of the rate over the steps
    warmup_steps: int = Field(0, ge=0)  # cosine: steps in which it rises
    layer_decay: float = Field(1.0, gt=0, le=1)  # of the rate, from a block to the one before it
    drop_path: float = Field(0.0, ge=0, lt=1)  # chance that an image goes around the last block
    train_last: int | None = Field(None, ge=0)  # blocks that learn; 0: a probe; null: all
    scan_mode: ScanMode | None = None  # of all the images, where they are ultrasound
    convert: float = Field(0.0, ge=0, le=1)  # share of training images shown in the other one

    @model_validator(mode="after")
    def _settings_go_together(self) -> "FinetuneConfig":
        _refuse_ignored(self)
        if self.train_last == 0 and self.layer_decay != 1:
            raise ValueError(
                f"layer_decay {self.layer_decay:g} is of the backbone, of which nothing learns "
                "with train_last 0; leave one of them out"
            )
        if (self.scan_mode is None) != (self.convert == 0):
            raise ValueError(
                f"scan_mode is {self.scan_mode or 'not set'} and convert is {self.convert:g}; set "
                "both, the mode of the images and the share to convert, or none"
            )
        if self.warmup_steps >= self.steps:
            raise ValueError(
                f"warmup_steps {self.warmup_steps} leave none of the {self.steps} steps to train "
                "at the whole rate; set fewer"
            )
        return self


def _refuse_ignored(section: TrainingConfig | FinetuneConfig) -> None:
    """Raises ValueError with every setting that the choices beside it make ineffective."""
    fields = type(section).model_fields
    ignored = [
        f"{name} is of {choice} {wanted!r}, and {choice} is {getattr(section, choice)!r}; leave it "
        f"out, or set {choice} to {wanted!r}"
        for name, (choice, wanted) in ONLY_WITH.items()
        if name in fields
        and getattr(section, choice) != wanted
        and getattr(section, name) != fields[name].default
    ]
    if ignored:
        raise ValueError("; and ".join(ignored))
