FROM registry.example:5000/base:1
WORKDIR /w
COPY a.txt /w/
RUN echo one > one
RUN cat a.txt > three
ENV A=b
