FROM 127.0.0.1:1/nope:1
RUN true
