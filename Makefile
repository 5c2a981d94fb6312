# Everything a newcomer runs; each target does its own set-up.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-page page-proof api-proof check bench bench-history bench-capacity crash-proof standby-proof faults soak secrets-proof vendors-proof test-systemd test-bare dist image deb test-dist test-image test-deb test-kustomize sbom audit clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

# Debian's and Ubuntu's Python comes without venv's pip: root gets the package, others are told its name.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; } \
		|| { echo "$(PYTHON) cannot make virtual environments: on Debian or Ubuntu, apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/installed  ## watch the real daemon against a simulated vendor; Ctrl-C ends it
	@$(BIN)/credit-monitor demo

check: $(VENV)/installed  ## lint, types and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check  ## everything CI runs (under ten minutes)
	$(BIN)/pytest -n 4 --dist worksteal

test-page: $(VENV)/installed  ## the pages in Debian's Chromium, with and without scripts (apt install chromium chromium-driver)
	$(BIN)/pytest -n 0 tests/integration/web/test_web_browser.py tests/integration/web/test_web_pages.py

page-proof: $(VENV)/installed  ## pictures of every page into dist/page, axe-core's word on each, and their times
	@$(BIN)/python -m tests.proofs.page dist/page

api-proof: $(VENV)/installed  ## requests made up from docs/openapi.json against a filled monitor (a few minutes)
	@$(BIN)/python -m tests.proofs.api

bench: $(VENV)/installed  ## speed, memory and start-up, beside a bare loop
	$(BIN)/python -m benchmarks

bench-history: $(VENV)/installed  ## ten million balances asked, beside the plain way (half an hour)
	$(BIN)/python -m benchmarks.history

bench-capacity: $(VENV)/installed  ## how many organizations one daemon can watch
	$(BIN)/python -m benchmarks.capacity

crash-proof: $(VENV)/installed  ## kill the daemon 200 times on each database, and count what was lost
	$(BIN)/python -m tests.proofs.crash

test-systemd: $(VENV)/installed  ## install and run the service on the systemd of Debian 12 and 13, in containers (as root; about six minutes)
	@$(BIN)/python -m tests.proofs.systemd

test-bare: $(VENV)/installed  ## make test in a bare Debian 12 and 13, in a container (as root; about a quarter of an hour)
	@$(BIN)/python -m tests.proofs.bare

dist: $(VENV)/installed  ## build wheel and sdist, with the tested versions and the release notes beside them
	@$(BIN)/python .ci/dist.py dist

test-dist: $(VENV)/installed  ## install wheel and sdist in empty environments of Python 3.11 and 3.13, where they are; run the sdist's tests
	@$(BIN)/python -m tests.proofs.dist

deb: $(VENV)/installed  ## build the Debian package for 12 and 13 into dist/
	@$(BIN)/python packaging/debian/build.py

test-deb: $(VENV)/installed  ## install, upgrade, remove, purge the package on the systemd of a bare Debian 12 and 13 (as root; about four minutes)
	@$(BIN)/python -m tests.proofs.deb

image: $(VENV)/installed  ## build the container image from the Containerfile; IMAGE_BASE names another base
	@$(BIN)/python packaging/image/build.py

test-image: $(VENV)/installed  ## build the image on a base made of Debian's packages, and run it (as root; about five minutes)
	@$(BIN)/python -m tests.proofs.image

test-kustomize: $(VENV)/installed  ## render deploy/kubernetes/, and validate it strictly, offline
	@$(BIN)/python -m tests.proofs.kustomize

sbom: $(VENV)/installed  ## write what is shipped, with versions and licences, to dist/sbom.json (CycloneDX)
	@mkdir -p dist
	@$(BIN)/python .ci/sbom.py $(TREE) > dist/sbom.json && echo "dist/sbom.json: written"

audit: $(VENV)/installed  ## ask PyPI whether a pinned version has a known vulnerability; needs the network
	@PYTHON=$(PYTHON) .ci/audit $(SITE)

standby-proof: $(VENV)/installed  ## strike down the leader of three daemons 80 times, and count what was lost
	$(BIN)/python -m tests.proofs.standby

faults: $(VENV)/installed  ## every fault against the real daemon, in turn and in combination (about an hour)
	$(BIN)/python -m tests.proofs.faults

vendors-proof: $(VENV)/installed  ## every vendor of the catalogue, answering and refusing in every way, in one run (two minutes)
	$(BIN)/python -m tests.proofs.vendors

soak: $(VENV)/installed  ## a month of simulated time in ten minutes
	$(BIN)/python -m tests.proofs.soak

secrets-proof: $(VENV)/installed  ## every secret through every fault and encoding, from the wheel, and all that is left searched (a quarter of an hour)
	$(BIN)/python -m tests.proofs.secrets

clean:  ## remove what the other targets made
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
