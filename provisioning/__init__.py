"""From a project file to running sites."""
