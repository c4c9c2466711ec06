FROM registry.test/no/such:9
RUN true
