# Every target works as the first command after a clone: it makes .venv and installs what it needs.
PYTHON ?= python3
BIN = .venv/bin
DEMO ?= demo
DEMO_PAGES ?= 800

.PHONY: setup demo test test-slow s3-test chaos flink-test spark-test browser lint bench clean

setup: .venv/ready

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "openm3w needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.11 ..." % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch .venv/ready

# Serves a generated web on loopback addresses, crawls it, builds a corpus, trains on it, and writes the report.
demo: setup
	rm -rf $(DEMO)
	$(BIN)/python -m pipeline.miniweb -o $(DEMO)/web --pages $(DEMO_PAGES) --format serve & server=$$!; \
		trap "kill $$server" EXIT; \
		until test -e $(DEMO)/web/seeds.txt; do kill -0 $$server || exit 1; sleep 0.2; done; \
		$(BIN)/m3w crawl $(DEMO)/web/seeds.txt -o $(DEMO)/warc --allow-private 127.0.0.0/8
	$(BIN)/m3w build $(DEMO)/warc -o $(DEMO)/corpus --no-fetch --set windows.validation=0.15
	$(BIN)/m3w train $(DEMO)/corpus
	$(BIN)/m3w inspect $(DEMO)/corpus

# Many tests wait, for servers, signals and timeouts: three processes keep two cores busy.
test: setup browser
	$(BIN)/python -m pytest -m "not slow and not s3" -n 3 --dist loadfile

test-slow: setup browser
	$(BIN)/python -m pytest -m "slow and not s3"

# Builds, readers and commands on s3://, at moto's server on a loopback address.
s3-test: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-s3.txt
	$(BIN)/python -m pytest -m s3

# Builds whose processes are killed at random, 50 times.
chaos: setup
	$(BIN)/python -m tests.chaos

# A build on Flink and on Spark, all on loopback, with processes killed (docs/cluster.md). Needs Java 17 and Maven.
flink-test: setup build/flink/ready
	nice $(BIN)/python -m tests.cluster flink build/flink

spark-test: setup build/spark/ready
	nice $(BIN)/python -m tests.cluster spark build/spark/beam

build/%/ready: tests/cluster/%.pom.xml tests/cluster/ClasspathScanningResourcesDetector.java
	@command -v mvn >/dev/null && command -v javac >/dev/null \
		|| { echo "this test needs Java 17 and Maven: install Debian's openjdk-17-jdk-headless and maven first"; exit 1; }
	rm -rf build/$*
	mkdir -p build/$*
	mvn --quiet --batch-mode --file $< dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory=$(CURDIR)/build/$*/beam
	test $* != flink || $(MAKE) --no-print-directory build/flink/flink
	touch $@

# Flink's own jars are in its package for Python. Task managers hold Beam's jars, and the job server stages none: each
# job would upload 152 MB.
build/flink/flink:
	rm -f build/flink/beam/flink-*.jar build/flink/beam/log4j*.jar build/flink/beam/slf4j*.jar
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
		--dest build/flink apache-flink-libraries==1.19.3
	tar -xzf build/flink/apache-flink-libraries-1.19.3.tar.gz -C build/flink
	mv build/flink/apache-flink-libraries-1.19.3/deps/lib $@
	rm -r build/flink/apache-flink-libraries-1.19.3*
	javac -cp "build/flink/beam/*" -d build/flink/shadow tests/cluster/ClasspathScanningResourcesDetector.java

# The tests open the report and the viewer in a real browser, and compare our WARC files with those of wget.
browser:
	@command -v chromium >/dev/null && command -v wget >/dev/null \
		|| { test "$$(id -u)" = 0 && apt-get update -q >/dev/null && apt-get install -y -q chromium wget >/dev/null; } \
		|| { echo "the tests need a browser and wget: install Debian's chromium and wget first"; exit 1; }

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m tests.bench

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis $(DEMO)
