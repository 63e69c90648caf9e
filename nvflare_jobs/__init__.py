"""The only code that imports NVIDIA FLARE at run time, and the command line."""
