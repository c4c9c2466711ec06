FROM registry.test/bb
RUN --security=insecure true
