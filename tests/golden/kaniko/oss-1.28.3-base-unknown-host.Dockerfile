FROM registry.invalid/base:1
RUN true
