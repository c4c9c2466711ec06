FROM registry.example:5000/base:1
RUN echo one
RUN echo two
COPY a.txt /
RUN echo three
