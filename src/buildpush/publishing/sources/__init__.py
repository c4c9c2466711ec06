"""Where an image comes from: text made a source, the source opened, its manifests gathered."""
