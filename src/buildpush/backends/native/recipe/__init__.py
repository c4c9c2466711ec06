"""From a stage of a Dockerfile to operations, an image config and cache keys. Pure."""
