FROM registry.example:5000/base:1
RUN echo before; printf MARK >&2; exit 7
