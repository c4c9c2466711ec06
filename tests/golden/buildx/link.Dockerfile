FROM registry.test/bb
COPY --link a.txt /q/
COPY --link b.txt /q/
RUN ls /q
