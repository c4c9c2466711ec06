FROM registry.test/bb
RUN ["/no/such", "file"]
