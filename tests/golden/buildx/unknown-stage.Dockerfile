FROM registry.test/bb
RUN true
