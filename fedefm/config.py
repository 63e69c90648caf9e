"""The run file (written by the data scientist) and the site file (owned by the hospital).

Both are YAML, frozen once read, and refuse unknown keys; every mistake of a file is reported at
once. Where the two speak of the same thing, the stricter one wins, and a run file can name neither
code nor paths of a site.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fedefm.errors import ConfigError, all_problems

FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")  # of a certificate
SERVER_PEER = "server"  # what a job calls the server, whatever its host
SITE_FILE = "fedefm_site.yaml"  # the hospital's own; read by ``read_site``
Name = str
Adjacency = Literal["add_or_remove_one", "replace_one"]


class Section(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A part of a file: immutable, and any key that it does not know is a mistake."""

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: Any, field: ValidationInfo) -> Any:
        """YAML reads yes, no, on and off as truth values, and those would count as 1 and 0."""
        wanted = cls.model_fields[field.field_name or ""].annotation
        if isinstance(value, bool) and wanted is not bool:
            raise ValueError(f"{value} (yes, no, on, off) is no possible value; quote it if a name")
        return value


class ModelConfig(Section):
    """Which foundation model every site builds, from the same seed."""

    backbone: str = "vit_micro"
    image_size: int = Field(64, ge=16, le=1024)  # pixels; frames are resized to a square
    head: Literal["trainable", "frozen"] = "frozen"  # frozen: orthogonal, the same at all sites
    classes: tuple[Name, ...] = ()  # union of labels; empty: collected from local sites
    start: Name | None = None  # weights of the backbone, by their name in each site's file
    train_last: int | None = Field(None, ge=0)  # blocks at the end, and the head; null: all


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


class FederationConfig(Section):
    """Who trains with whom, how often, and when a round counts."""

    scenario: Literal["decentralized", "client_server", "local", "centralized"] = "decentralized"
    algorithm: Literal["fedefm", "gossip", "fedavg", "none"] = "fedefm"
    update: Literal["swap", "mixed", "literal"] = "swap"  # of fedefm
    topology: str = "ring"  # ring, star, complete, mst, or a GML / edge-list file
    schedule: Literal[
        "neighbors", "matchings", "random_matchings", "hypercube", "one_peer_exponential", "grid"
    ] = "matchings"
    cohort: int = Field(3, ge=2)  # of schedule grid: how many sites at least share one mean
    expert: Literal["single", "aggregated"] = "single"  # aggregated: a neighborhood's mean expert
    rounds: int = Field(60, ge=1, le=100_000)
    local_steps: int = Field(5, ge=1, le=1_000_000)
    host_steps: int = Field(5, ge=1, le=1_000_000)
    expert_every: int = Field(5, ge=1)  # swap: coprime to the schedule's period, so pairs vary
    quorum: float = Field(0.5, gt=0, le=1)  # share of the sites that must take part in a round
    deadline_s: float = Field(120.0, gt=0, le=604_800)  # how long a site waits for one exchange
    evaluate_every: int = Field(5, ge=1)  # rounds between measurements on validation images
    wire: Literal["float32", "bfloat16"] = "float32"  # of weights on their way; half the bytes

    @model_validator(mode="after")
    def _algorithm_fits_scenario(self) -> "FederationConfig":
        fitting = {
            "decentralized": ("fedefm", "gossip"),
            "client_server": ("fedavg",),
            "local": ("none",),
            "centralized": ("none",),
        }[self.scenario]
        if self.algorithm not in fitting:
            raise ValueError(
                f"algorithm {self.algorithm!r} does not run in scenario {self.scenario!r}; "
                f"use {' or '.join(fitting)}"
            )
        swap = self.algorithm == "fedefm" and self.update == "swap"
        if swap and self.schedule in ("neighbors", "one_peer_exponential"):
            raise ValueError(
                f"update 'swap' needs one partner a round, and schedule {self.schedule!r} does not "
                "give pairs; use matchings, random_matchings, hypercube or grid, or update 'mixed'"
            )
        if self.schedule == "grid" and not (swap or self.algorithm == "gossip"):
            raise ValueError(
                "schedule 'grid' is for means over cohorts, in gossip and in update 'swap'; use "
                "another schedule here"
            )
        if self.expert == "aggregated" and (self.algorithm, self.update) != ("fedefm", "mixed"):
            raise ValueError(
                "expert 'aggregated' is the mean of a neighborhood's experts, and only update "
                "'mixed' has a neighborhood of them; set update to 'mixed', or expert to 'single'"
            )
        if self.expert == "aggregated" and self.schedule != "neighbors":
            raise ValueError(
                "expert 'aggregated' is the mean of a neighborhood's experts, and schedule "
                f"{self.schedule!r} gives a site one host a round; set schedule to 'neighbors', "
                "where a neighborhood has several experts, or expert to 'single'"
            )
        if self.wire != "float32" and self.algorithm == "fedavg":
            raise ValueError(
                f"wire {self.wire!r} rounds what travels, and in algorithm 'fedavg' sizes travel "
                "with the weights, and all must hold the very same model; set wire to 'float32'"
            )
        return self


class DistillConfig(Section):
    """How returned experts teach (paper, eq. 11) and how their agreement is measured (eq. 3)."""

    beta: float = Field(0.0, ge=0, le=1)  # share of the teachers' part; 0: labels only
    temperature: float = Field(2.0, gt=0)
    weights: Literal["emd", "uniform"] = "emd"
    node_weights: Literal["cross", "uniform"] = "cross"
    gradient: Literal["detach", "through"] = "detach"  # through: EMD weights teach, too
    pool: int | None = Field(4, ge=1)  # token grid pooled to pool x pool; null: all tokens


class DpConfig(Section):
    """Differential privacy of everything that a site trains, in this run.

    Each site draws every patient with the same probability, ``patients_per_step`` over the number
    of its patients, and takes at most ``max_patients_per_step`` of those drawn. A patient gives up
    to ``frames_per_patient`` images, whose mean gradient is clipped to ``clip_norm`` once. With
    unit ``image`` read "image" for "patient".
    """

    epsilon: float | None = Field(None, gt=0)  # the noise is calibrated to it, at each site
    noise_multiplier: float | None = Field(None, gt=0)  # instead: noise deviation over clip_norm
    delta: float = Field(1e-5, gt=0, lt=1)  # a site refuses more than 1/patients
    unit: Literal["patient", "image"] = "patient"
    adjacency: Adjacency = "add_or_remove_one"
    patients_per_step: int = Field(32, ge=1)  # expected number; all, where a site has fewer
    max_patients_per_step: int | None = Field(None, ge=1)  # null: so many that few are left out
    frames_per_patient: int = Field(1, ge=1)
    clip_norm: float = Field(1.0, gt=0)  # L2, of a patient's gradient
    clipping: Literal["flat", "per_layer"] = "flat"
    gradients: Literal["auto", "loop", "hooks", "ghost", "bookkeeping"] = "auto"

    @model_validator(mode="after")
    def _one_says_the_noise(self) -> "DpConfig":
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise ValueError("set one of epsilon and noise_multiplier, and leave the other out")
        if (self.max_patients_per_step or self.patients_per_step) < self.patients_per_step:
            raise ValueError(
                f"max_patients_per_step {self.max_patients_per_step} is below patients_per_step "
                f"{self.patients_per_step}; half of the steps would leave patients out"
            )
        return self


class NoiseSharesConfig(Section):
    """Noise that the sites make together: each adds a share, and only their sum has all of it.

    ``honest`` shares make up ``privacy.dp.noise_multiplier``; a sum of fewer than ``honest`` and
    ``secagg.colluders`` sites is not opened. What a patient is promised then rests on that many
    other sites, which is why a site must allow it (``policy.noise_shares``).
    """

    honest: int = Field(ge=2)  # sites in each sum that add their share and keep it to themselves


class SecaggConfig(Section):
    """Secure sums: who receives a sum over sites learns no site's part of it.

    Values travel as whole multiples of a step, ``2 bound / 2^value_bits``, modulo 2^32, or modulo
    2^24 where ``compact``. A site with a value beyond ``bound`` gives no part.
    """

    bound: float = Field(8.0, gt=0)  # of any single weight
    value_bits: int | None = Field(None, ge=8, le=30)  # null: 24, or as many as fit if compact
    compact: bool = False  # 3 bytes a weight instead of 4
    largest_site: int = Field(1000, ge=1)  # images, or patients, that no site has more of
    colluders: int = Field(1, ge=0)  # so many sites that pool what they see learn nobody's part
    noise_shares: NoiseSharesConfig | None = None  # null: each site adds all of its noise itself


class PrivacyConfig(Section):
    """How a run protects patients, and what sites learn of each other."""

    dp: DpConfig | None = None
    secagg: SecaggConfig | None = None


class FinetuneConfig(Section):
    """Segmentation from a foundation model after pre-training; the options of `fedefm finetune`."""

    num_classes: int = Field(3, ge=2)
    steps: int = Field(300, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    label_fraction: float = Field(1.0, gt=0, le=1)


class RunConfig(Section):
    """One run file."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    seed: int = Field(1, ge=0)
    dataset: Name = "pretraining"
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    federation: FederationConfig = FederationConfig()
    distill: DistillConfig = DistillConfig()
    privacy: PrivacyConfig = PrivacyConfig()

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
    def _literal_update_distills(self) -> "RunConfig":
        federation = self.federation
        literal = federation.algorithm == "fedefm" and federation.update == "literal"
        if literal and self.distill.beta == 0:
            raise ValueError(
                "federation.update 'literal' learns from others only by distillation, and "
                "distill.beta is 0; set it above 0"
            )
        return self


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
    if run.training.momentum != 0:
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


class DatasetEntry(Section):
    """What one dataset name means at this site."""

    manifest: Path  # relative to the site file
    unit: Literal["patient", "image"] = "patient"  # what the ledger counts for; runs must agree
    budget: Name | None = None  # one name for datasets that hold the same patients; null: its own
    patients: int | None = Field(None, ge=1)  # as the hospital publishes it; null: counted
    labels: tuple[Name, ...] | None = None  # kinds of images that the hospital says it holds


class PolicyConfig(Section):
    """What the site allows; no job can relax it."""

    require_dp: bool = False
    min_cohort: int = Field(2, ge=1)  # so many others must be in a secure sum beside this site
    colluders: int = Field(1, ge=0)  # so many of them, pooling what they see, must learn nothing
    require_encryption: bool = True
    allowed_metrics: tuple[str, ...] = ("loss", "accuracy", "images", "seconds", "similarity")
    epsilon_cap: float | None = Field(None, gt=0)  # of a dataset's patients, over all jobs, ever
    delta: float = Field(1e-5, gt=0, lt=1)
    adjacency: Adjacency = "add_or_remove_one"
    noise_shares: bool = False  # whether its patients' protection may rest on other sites' noise


class SiteConfig(Section):
    """One site file, ``fedefm_site.yaml``."""

    datasets: dict[Name, DatasetEntry]
    policy: PolicyConfig = PolicyConfig()
    starts: dict[Name, Path] = {}  # weights that runs may start from; relative to the site file
    ledger: Path | None = None  # outside any job's folder; its key lies beside it
    ledger_witness: Path | None = None  # a file on another disk that remembers the ledger's head
    device: Literal["cpu"] = "cpu"  # where pre-training computes; others are not supported yet
    peers: dict[Name, str] = {}  # certificates of others by name, `sha256:...`; none: the root's

    @field_validator("peers")
    @classmethod
    def _each_peer_is_a_fingerprint(cls, peers: dict[Name, str]) -> dict[Name, str]:
        found = {name: _fingerprint(text) for name, text in peers.items()}
        wrong = [name for name, text in found.items() if not FINGERPRINT.fullmatch(text)]
        if wrong:
            raise ValueError(
                f"{_listed(wrong)}: not the fingerprint of a certificate, which is `sha256:` and "
                "64 hexadecimal digits; see `fedefm provision fingerprint`"
            )
        if found and SERVER_PEER not in found:
            raise ValueError(
                f"{SERVER_PEER!r} is missing: where certificates are pinned, the server's is, too"
            )
        return found

    @model_validator(mode="after")
    def _each_patient_is_counted_once(self) -> "SiteConfig":
        problems = _counted_twice(self.datasets) if self.ledger else []
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _fingerprint(text: str) -> str:
    """As this project writes it; openssl and others write colons and capitals."""
    digits = text.strip().lower().removeprefix("sha256 fingerprint=").removeprefix("sha256:")
    return f"sha256:{digits.replace(':', '')}"


def _counted_twice(datasets: Mapping[Name, DatasetEntry]) -> list[str]:
    """Where a ledger would keep two accounts of the same images, each with the whole cap."""
    problems = []
    by_manifest = _grouped(datasets, lambda name: os.path.normpath(datasets[name].manifest))
    for manifest, names in by_manifest.items():
        if len({datasets[name].budget or name for name in names}) > 1:
            problems.append(
                f"datasets {_listed(names)} hold the images of {manifest} and are counted under "
                "different budgets; give them one `budget`"
            )
    by_budget = _grouped(datasets, lambda name: datasets[name].budget or name)
    for budget, names in by_budget.items():
        if len({datasets[name].unit for name in names}) > 1:
            problems.append(
                f"datasets {_listed(names)} share the budget {budget!r} and are counted by the "
                "patient and by the image; give them one `unit`"
            )
    return problems


def _grouped(names: Iterable[Name], key: Callable[[Name], str]) -> dict[str, list[Name]]:
    groups: dict[str, list[Name]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _listed(names: Iterable[Name]) -> str:
    return " and ".join(repr(name) for name in names)


FileModel = TypeVar("FileModel", bound=Section)


def read_run(path: Path) -> RunConfig:
    """The run file at ``path``. Raises ConfigError with every mistake of the file."""
    return _read(path, RunConfig, "run file")


def read_site(path: Path) -> SiteConfig:
    """The site file at ``path``. Raises ConfigError with every mistake of the file."""
    return _read(path, SiteConfig, "site file")


def parse(data: Any, model: type[FileModel], what: str) -> FileModel:
    """``data`` as ``model``. Raises ConfigError with every mistake."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = [_sentence(dict(detail)) for detail in error.errors()]
        raise ConfigError(all_problems(what, problems)) from None


def dump(config: Section) -> str:
    """The YAML text that reads back as ``config``."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


class _EachNameOnce(yaml.SafeLoader):
    """YAML lets the last of two equal names win, and the first one's settings would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{name!r} stands there twice", problem_mark=key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def _read(path: Path, model: type[FileModel], what: str) -> FileModel:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _EachNameOnce)
    except FileNotFoundError:
        raise ConfigError(f"{what} {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(
            f"{what} {path} holds no settings; it must be a mapping of names to values"
        )
    return parse(data, model, f"{what} {path}")


def _sentence(detail: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in detail["loc"]) or "file"
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return f"{where} is not a known setting"
    if detail["type"] == "missing":
        return f"{where} is missing"
    if detail["type"] in ("model_type", "dict_type"):
        return f"{where} = {detail['input']!r}: must be a mapping of names to values"
    reason = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error":
        return f"{where}: {reason}"
    return f"{where} = {detail.get('input')!r}: {reason[0].lower()}{reason[1:]}"
