FROM registry.example:5000/base:1
RUN true
RUN echo before; echo MARK >&2; exit 7
