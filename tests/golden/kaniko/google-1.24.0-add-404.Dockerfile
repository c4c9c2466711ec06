FROM registry.example:5000/base:1
RUN true
ADD http://registry.example:5000/v2/nosuch.txt /x
