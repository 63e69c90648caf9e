"""The device that a person names on the command line."""

import torch

from fedefm.errors import ConfigError


def find_device(name: str) -> torch.device:
    """The device called ``name``. Raises ConfigError if it is unknown or not in this machine."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:  # torch raises different types for unknown and for absent
        reason = str(error).splitlines()[0][:120]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); try 'cpu'") from None
    return device
