"""COPY and ADD: what they find, where it goes, and how it gets into a layer without being unpacked."""
