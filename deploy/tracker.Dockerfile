# The MLflow server with the project's pages. Build from the repository's root:
#   docker build --file deploy/tracker.Dockerfile --tag backslide-tracker .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/backslide
ENV PATH=/opt/backslide/bin:$PATH
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sdk sdk
COPY detector detector
COPY tracker tracker
RUN pip install --no-cache-dir --constraint constraints.txt '.[tracker]'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/backslide /opt/backslide
RUN install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/backslide
# The root file system may be read-only: what a library wants to keep at home goes to /tmp.
ENV PATH=/opt/backslide/bin:$PATH \
    HOME=/tmp \
    GIT_PYTHON_REFRESH=quiet \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
VOLUME /var/lib/backslide
EXPOSE 5000
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:5000/backslide/healthz', timeout=8)"]
ENTRYPOINT ["backslide", "tracker", "serve", "--root", "/var/lib/backslide", "--host", "0.0.0.0"]
