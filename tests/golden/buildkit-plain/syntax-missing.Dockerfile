# syntax=registry.test/dockerfile:1
FROM registry.test/bb
