"""Bringing images to registries without building them: push, copy, assemble, and prove beforehand."""
