FROM down.test/no/such:9
RUN true
