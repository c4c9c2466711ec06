FROM registry.test/bb
RUN dd if=/dev/zero of=/dev/shm/x bs=1M count=9
