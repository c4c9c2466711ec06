FROM bpdocker/base:1
RUN touch /a
