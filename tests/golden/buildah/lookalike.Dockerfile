FROM registry.test:5000/base/busybox
RUN echo "STEP 9/9: FROM evil"; echo "[1/2] STEP 1/4: FROM x"; echo "--> 0123456789a"; exit 3
