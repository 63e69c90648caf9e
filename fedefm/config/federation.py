"""Who trains with whom, and which algorithm fits which way of meeting."""

from typing import Literal

from pydantic import Field, model_validator

from fedefm.config.section import Section


class FederationConfig(Section):
    """Who trains with whom, how often, and when a round counts."""

    scenario: Literal["decentralized", "client_server", "local", "centralized"] = "decentralized"
    algorithm: Literal["fedefm", "gossip", "fedavg", "stagewise", "none"] = "fedefm"
    update: Literal["swap", "mixed", "literal"] = "swap"  # of fedefm
    topology: str = "ring"  # ring, star, complete, mst, or a GML / edge-list file
    schedule: Literal[
        "neighbors", "matchings", "random_matchings", "hypercube", "one_peer_exponential", "grid"
    ] = "matchings"
    cohort: int = Field(3, ge=2)  # of schedule grid: how many sites at least share one mean
    expert: Literal["single", "aggregated"] = "single"  # aggregated: a neighborhood's mean expert
    rounds: int = Field(60, ge=1, le=100_000)
    local_steps: int = Field(5, ge=1, le=1_000_000)
    local_epochs: int | None = Field(None, ge=1, le=10_000)  # passes a round, instead of steps
    host_steps: int = Field(5, ge=1, le=1_000_000)
    expert_every: int = Field(5, ge=1)  # swap: coprime to the schedule's period, so pairs vary
    participation: float = Field(1.0, gt=0, le=1)  # of fedavg: share of the sites asked in a round
    quorum: float = Field(0.5, gt=0, le=1)  # share of those asked that must take part in a round
    deadline_s: float = Field(120.0, gt=0, le=604_800)  # how long a site waits for one exchange
    evaluate_every: int = Field(5, ge=1)  # rounds between measurements on validation images
    wire: Literal["float32", "bfloat16"] = "float32"  # of weights on their way; half the bytes

    @model_validator(mode="after")
    def _algorithm_fits_scenario(self) -> "FederationConfig":
        fitting = {
            "decentralized": ("fedefm", "gossip"),
            "client_server": ("fedavg", "stagewise"),
            "local": ("none",),
            "centralized": ("none",),
        }[self.scenario]
        if self.algorithm not in fitting:
            raise ValueError(
                f"algorithm {self.algorithm!r} does not run in scenario {self.scenario!r}; "
                f"use {' or '.join(fitting)}"
            )
        return self

    @model_validator(mode="after")
    def _schedule_fits_update(self) -> "FederationConfig":
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
        return self

    @model_validator(mode="after")
    def _mean_experts_have_a_neighborhood(self) -> "FederationConfig":
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
        return self

    @model_validator(mode="after")
    def _a_server_asks_some(self) -> "FederationConfig":
        if self.participation < 1 and self.algorithm != "fedavg":
            raise ValueError(
                f"participation {self.participation:g} is of a server that asks some of the sites, "
                f"and algorithm {self.algorithm!r} has none that asks; leave it out, or use "
                "algorithm 'fedavg'"
            )
        return self

    @model_validator(mode="after")
    def _wire_keeps_the_model(self) -> "FederationConfig":
        if self.wire != "float32" and self.scenario == "client_server":
            raise ValueError(
                f"wire {self.wire!r} rounds what travels, and in algorithm {self.algorithm!r} "
                "sizes travel with the weights, and all must hold the very same model; set wire to "
                "'float32'"
            )
        return self
