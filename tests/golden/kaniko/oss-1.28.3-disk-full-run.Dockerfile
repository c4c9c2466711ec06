FROM registry.example:5000/base:1
RUN dd if=/dev/zero of=/small/x bs=1M count=8
