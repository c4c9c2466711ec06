"""The PLUGIN_ environment of the Drone plugins, as settings."""
