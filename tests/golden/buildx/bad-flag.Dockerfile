FROM registry.test/bb
RUN --nosuch=1 true
