"""The launcher that RUN lives in, in parts: standard library only, run by a bare interpreter."""
