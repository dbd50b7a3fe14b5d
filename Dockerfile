# docker build --tag csv-ingestor .
# docker run --detach --name orders --volume /srv/csv-ingestor/orders:/data --user 1000:1000 csv-ingestor
#
# The image holds one file. Staging, warehouse, manifests and state lie in /data, one volume: nothing can be renamed from one
# volume to another, only copied.

FROM rust:1-bookworm AS build
WORKDIR /source
COPY . .
RUN scripts/build_static /csv-ingestor

FROM scratch
COPY --from=build /csv-ingestor /csv-ingestor
ENV CSV_INGESTOR_INPUT=/data/staging
ENV CSV_INGESTOR_WAREHOUSE=/data/warehouse
ENV CSV_INGESTOR_MANIFESTS=/data/manifests
ENV CSV_INGESTOR_STATE_PATH=/data/state
VOLUME /data
# Not root; --user names the owner of the volume.
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/csv-ingestor"]
