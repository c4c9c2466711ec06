FROM registry.example:5000/base:1
RUN dd if=/dev/urandom of=/big bs=1M count=60 2>/dev/null
