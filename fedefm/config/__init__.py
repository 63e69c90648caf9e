"""The run file (written by the data scientist) and the site file (owned by the hospital).

Both are YAML, frozen once read, and refuse unknown keys; every mistake of a file is reported at
once. Where the two speak of the same thing, the stricter one wins, and a run file can name neither
code nor paths of a site.
"""

from fedefm.config.federation import FederationConfig
from fedefm.config.masking import MaskingConfig
from fedefm.config.privacy import (
    Adjacency,
    DpConfig,
    NoiseSharesConfig,
    PrivacyConfig,
    SecaggConfig,
)
from fedefm.config.run_file import RunConfig, read_run
from fedefm.config.section import Section, dump, parse
from fedefm.config.server_file import SERVER_FILE, ServerConfig, read_server
from fedefm.config.site_file import (
    SITE_FILE,
    DatasetEntry,
    PolicyConfig,
    SiteConfig,
    read_site,
)
from fedefm.config.stagewise import CurationConfig, SiteTask, Stage, StagewiseConfig
from fedefm.config.training import (
    DistillConfig,
    FinetuneConfig,
    ModelConfig,
    TrainingConfig,
)

__all__ = [
    "SERVER_FILE",
    "SITE_FILE",
    "Adjacency",
    "CurationConfig",
    "DatasetEntry",
    "DistillConfig",
    "DpConfig",
    "FederationConfig",
    "FinetuneConfig",
    "MaskingConfig",
    "ModelConfig",
    "NoiseSharesConfig",
    "PolicyConfig",
    "PrivacyConfig",
    "RunConfig",
    "SecaggConfig",
    "Section",
    "ServerConfig",
    "SiteConfig",
    "SiteTask",
    "Stage",
    "StagewiseConfig",
    "TrainingConfig",
    "dump",
    "parse",
    "read_run",
    "read_server",
    "read_site",
]
