FROM scratch
COPY foreign /foreign
RUN ["/foreign"]
