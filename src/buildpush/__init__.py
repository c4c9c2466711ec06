"""Build container images and push them, with whichever backend is at hand."""
