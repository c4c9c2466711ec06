FROM registry.test/bb
RUN dd if=/dev/zero of=/x bs=1M count=80
