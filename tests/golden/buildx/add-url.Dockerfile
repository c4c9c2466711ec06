FROM registry.test/bb
ADD http://down.test/x.tar /x
