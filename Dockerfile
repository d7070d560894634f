# One image for every component; the command says which: `shadowlane run worker|pairing|sink`.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/shadowlane
COPY . .
RUN /opt/shadowlane/bin/pip install --no-cache-dir '.[server]'

FROM python:3.12-slim
RUN useradd --system --create-home --uid 10001 shadowlane
COPY --from=build /opt/shadowlane /opt/shadowlane
ENV PATH=/opt/shadowlane/bin:$PATH PYTHONUNBUFFERED=1
USER shadowlane
WORKDIR /home/shadowlane
ENTRYPOINT ["shadowlane"]
CMD ["--help"]
