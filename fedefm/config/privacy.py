"""How a run protects patients: differential privacy, secure sums, and noise made together."""

from typing import Literal

from pydantic import Field, model_validator

from fedefm.config.section import Section

Adjacency = Literal["add_or_remove_one", "replace_one"]


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
