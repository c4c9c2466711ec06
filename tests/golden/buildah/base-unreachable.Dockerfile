FROM 127.0.0.1:1/no/such:1
RUN true
