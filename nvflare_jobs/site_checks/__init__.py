"""What a kit's machine and files must have before a run, looked at without starting FLARE."""
