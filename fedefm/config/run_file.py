"""The run file, which the data scientist writes; its sections must go together."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from fedefm.config.federation import FederationConfig
from fedefm.config.masking import MaskingConfig
from fedefm.config.names import PATCHES, UNLABELED, dataset_name
from fedefm.config.privacy import PrivacyConfig
from fedefm.config.section import Name, Section, read
from fedefm.config.stagewise import SiteTask, StagewiseConfig
from fedefm.config.training import DistillConfig, ModelConfig, TrainingConfig


class RunConfig(Section):
    """One run file."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    seed: int = Field(1, ge=0)
    dataset: Name = "pretraining"
    model: ModelConfig = ModelConfig()
    masking: MaskingConfig | None = None  # set: a masked autoencoder, without labels
    stagewise: StagewiseConfig | None = None  # of algorithm stagewise: stages, and sites' tasks
    training: TrainingConfig = TrainingConfig()
    federation: FederationConfig = FederationConfig()
    distill: DistillConfig = DistillConfig()
    privacy: PrivacyConfig = PrivacyConfig()

    @field_validator("dataset")
    @classmethod
    def _a_dataset_is_no_path(cls, name: Name) -> Name:
        return dataset_name(name)

    @model_validator(mode="after")
    def _secure_sums_hide(self) -> "RunConfig":
        federation = self.federation
        if self.privacy.secagg is None:
            return self
        if federation.scenario in ("local", "centralized"):
            raise ValueError(
                f"privacy.secagg protects sums over sites, and scenario {federation.scenario!r} "
                "has none; leave it out"
            )
        averages = federation.algorithm == "gossip" or federation.update == "swap"
        pairs = federation.schedule not in ("grid", "neighbors")
        if federation.scenario == "decentralized" and averages and pairs:
            raise ValueError(
                f"privacy.secagg cannot hide a site in the mean of two, which schedule "
                f"{federation.schedule!r} makes; set federation.schedule to 'grid'"
            )
        return self

    @model_validator(mode="after")
    def _noise_can_be_shared(self) -> "RunConfig":
        secagg = self.privacy.secagg
        problems = [] if secagg is None or not secagg.noise_shares else list(_of_shares(self))
        if problems:
            raise ValueError("privacy.secagg.noise_shares " + "; and ".join(problems))
        return self

    @model_validator(mode="after")
    def _private_steps_have_no_epochs(self) -> "RunConfig":
        if self.federation.local_epochs is not None and self.privacy.dp is not None:
            raise ValueError(
                "federation.local_epochs counts passes over a site's images, and privacy.dp draws "
                "patients anew for every step; set federation.local_steps instead"
            )
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> "RunConfig":
        warmup, rounds, whose = self.training.warmup_rounds, self.federation.rounds, ""
        if self.stagewise is not None:  # the rate begins anew in each stage
            rounds, whose = min(stage.rounds for stage in self.stagewise.stages), " of a stage"
        if warmup >= rounds:
            raise ValueError(
                f"training.warmup_rounds {warmup} leave none of the {rounds} rounds{whose} to "
                "train at the whole rate; set fewer, or more rounds"
            )
        return self

    @model_validator(mode="after")
    def _an_autoencoder_needs_no_labels(self) -> "RunConfig":
        problems = [] if self.masking is None else list(_of_masking(self))
        if problems:
            raise ValueError("masking " + "; and ".join(problems))
        return self

    @model_validator(mode="after")
    def _stages_are_of_an_algorithm(self) -> "RunConfig":
        staged = self.federation.algorithm == "stagewise"
        if staged and self.stagewise is None:
            raise ValueError(
                "federation.algorithm 'stagewise' needs to know who trains when, and on which "
                "task; set stagewise.stages and stagewise.tasks"
            )
        if self.stagewise is None:
            return self
        problems = (
            list(_of_stages(self, self.stagewise))
            if staged
            else [
                f"is of federation.algorithm 'stagewise', which is {self.federation.algorithm!r}; "
                "leave it out, or set the algorithm"
            ]
        )
        if problems:
            raise ValueError("stagewise " + "; and ".join(problems))
        return self

    @property
    def labels(self) -> tuple[str, ...]:
        """What tells images apart; the one label of all where none is learned by all."""
        together = self.masking is None and self.stagewise is None
        return self.model.classes if together else (UNLABELED,)

    def task(self, site: str) -> SiteTask | None:
        """What ``site`` alone teaches; None where all sites learn the same."""
        return None if self.stagewise is None else self.stagewise.tasks[site]

    def measures_after(self, round_index: int) -> bool:
        """Whether models are measured after this round: every so often, and after each stage."""
        if self.stagewise is not None and round_index in self.stagewise.last_rounds:
            return True
        return (round_index + 1) % self.federation.evaluate_every == 0

    @model_validator(mode="after")
    def _literal_update_distills(self) -> "RunConfig":
        federation = self.federation
        literal = federation.algorithm == "fedefm" and federation.update == "literal"
        if literal and self.distill.beta == 0:
            raise ValueError(
                "federation.update 'literal' learns from others only by distillation, and "
                "distill.beta is 0; set it above 0"
            )
        return self


def read_run(path: Path) -> RunConfig:
    """The run file at ``path``. Raises ConfigError with every mistake of the file."""
    return read(path, RunConfig, "run file")


def _of_masking(run: RunConfig) -> Iterator[str]:
    """Why ``run`` cannot train a masked autoencoder: sentences without a subject."""
    model, algorithm = run.model, run.federation.algorithm
    if model.backbone not in PATCHES:
        yield (
            f"hides patches, and model.backbone {model.backbone!r} has none; use one of "
            f"{', '.join(PATCHES)}"
        )
    elif model.image_size == PATCHES[model.backbone]:
        yield (
            f"would leave nothing to see, since an image of {model.image_size} pixels is a single "
            f"patch of {model.backbone}; set model.image_size to {2 * model.image_size} or more"
        )
    if algorithm == "fedefm":
        yield (
            "trains no labels that an overseas expert could teach, and federation.algorithm is "
            "'fedefm'; use 'fedavg' (UltraFedFM), 'gossip', or 'none' for a reference"
        )
    if run.masking and run.masking.convert > 0 and run.federation.scenario == "centralized":
        yield (
            "converts images by the scan mode of their site (masking.convert), and "
            "federation.scenario 'centralized' mixes the images of all sites; leave it out, or "
            "compare with scenario 'local'"
        )
    for name, idle in (("classes", ()), ("train_last", None)):
        if getattr(model, name) != idle:
            yield f"has no use for model.{name}; leave it out"


def _of_stages(run: RunConfig, stagewise: StagewiseConfig) -> Iterator[str]:
    """Why the stages of ``run`` cannot be: sentences without a subject."""
    federation = run.federation
    if federation.rounds != stagewise.rounds:
        yield (
            f"has stages of {stagewise.rounds} rounds in all, and federation.rounds is "
            f"{federation.rounds}; set it to {stagewise.rounds}"
        )
    if run.masking is not None:
        yield (
            "has tasks with labels, which masking has not; pre-train a masked autoencoder in a run "
            "of its own, and name it as model.start"
        )
    for name, idle in (("classes", ()), ("train_last", None)):
        if getattr(run.model, name) != idle:
            yield f"has no use for model.{name}; leave it out"
    if run.training.average_decay != TrainingConfig().average_decay:
        yield (
            "goes on from the last encoder and has no average over rounds; leave out "
            "training.average_decay"
        )
    if stagewise.curation is not None and run.privacy.secagg is not None and run.privacy.dp is None:
        yield (
            "has curation, for which sites give features of images that the server chooses: what "
            "these say of one site, no check of secure sums covers; set privacy.dp, or leave "
            "curation out"
        )


def _of_shares(run: RunConfig) -> Iterator[str]:
    """Why the sites of ``run`` cannot make their noise together: sentences without a subject.

    Nothing but one sum a round may leave, and all of it must come from the noisy sum of gradients.
    """
    federation, privacy = run.federation, run.privacy
    if federation.algorithm != "fedavg":
        yield (
            "lets nothing but sums leave a site, which is so in algorithm 'fedavg' alone, and "
            f"federation.algorithm is {federation.algorithm!r}; let each site add all its noise"
        )
    if federation.local_steps != 1:
        yield (
            "needs a sum after every step, and federation.local_steps is "
            f"{federation.local_steps}; set it to 1, and federation.rounds to more"
        )
    if federation.participation < 1:
        yield (
            "counts on the shares of all sites in every step, and federation.participation is "
            f"{federation.participation:g}; leave it out"
        )
    if run.training.optimizer != "sgd":
        yield (
            "leaves no site a noisy gradient of its own to gather moments from, and "
            f"training.optimizer is {run.training.optimizer!r}; set it to 'sgd', and "
            "training.momentum to 0"
        )
    elif run.training.momentum != 0:
        yield (
            "leaves no site a noisy gradient of its own to gather momentum from, and "
            f"training.momentum is {run.training.momentum:g}; set it to 0"
        )
    if privacy.dp is None:
        yield "shares the noise of privacy.dp, which is not set; set it, or leave this out"
    elif privacy.dp.noise_multiplier is None:
        yield (
            "needs equal noise at all sites, and privacy.dp.epsilon asks for another amount at "
            "each; set privacy.dp.noise_multiplier, and see with `fedefm privacy what-if` which "
            "epsilon it gives at a site"
        )
    if privacy.secagg and (privacy.secagg.compact or privacy.secagg.value_bits is not None):
        yield "needs 24 value bits in 32; leave out privacy.secagg.compact and value_bits"
