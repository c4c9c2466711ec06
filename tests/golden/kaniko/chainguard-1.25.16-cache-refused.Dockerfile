FROM registry.example:5000/base:1
WORKDIR /w
COPY a.txt /w/
RUN echo uno > one
RUN cat a.txt > two
ENV A=b
