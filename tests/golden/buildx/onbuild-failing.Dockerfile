FROM registry.test/onb
RUN true
