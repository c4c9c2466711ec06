"""Harness YAML as steps, and steps as Harness YAML."""
