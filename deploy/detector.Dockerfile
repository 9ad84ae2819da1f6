# The scheduled detector. Build from the repository's root:
#   docker build --file deploy/detector.Dockerfile --tag backslide-detector .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/backslide
ENV PATH=/opt/backslide/bin:$PATH
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sdk sdk
COPY detector detector
COPY tracker tracker
RUN pip install --no-cache-dir --constraint constraints.txt '.[detector]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/backslide /opt/backslide
RUN install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/backslide
# The root file system may be read-only: what a library wants to keep at home goes to /tmp.
ENV PATH=/opt/backslide/bin:$PATH \
    HOME=/tmp \
    GIT_PYTHON_REFRESH=quiet \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BACKSLIDE_STATE=/var/lib/backslide/ledger.db
USER 10001:10001
VOLUME /var/lib/backslide
ENTRYPOINT ["backslide", "detector", "serve"]
