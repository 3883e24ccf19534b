# The benchmarks and the chaos run, as the Makefile includes them.
BENCH_JARS := .cache/bench-jars
BENCHES := landing commits memory freshness build anomalies predictions forecast fraud

.PHONY: bench-jars chaos bench

bench-jars: $(BENCH_JARS)/.fetched

# What Spark needs to read Kafka. The Scala compiler is among pyspark's own jars.
$(BENCH_JARS)/.fetched: bench/spark/pom.xml bench/spark/kafka_without_tokens.scala $(SPARK_JARS)/.fetched $(STAMPS)/dev
	@echo "Fetching the jars of the benchmarks"
	@set -e; export JAVA_HOME="$$($(BIN)/python -m levain.warehouse.spark)"; \
	  mvn -B -q -ntp -f bench/spark/pom.xml \
	    dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(BENCH_JARS) -DincludeScope=runtime; \
	  "$$JAVA_HOME/bin/java" -cp "$$($(BIN)/python -c 'import pyspark; print(pyspark.__path__[0])')/jars/*" \
	    scala.tools.nsc.Main -usejavacp -d $(BENCH_JARS)/kafka_without_tokens.jar bench/spark/kafka_without_tokens.scala
	@touch $@

chaos: setup-dev ## 200 rounds of kills, pauses, lost replies and restarts, then Bronze against Kafka (options: ARGS="--rounds 50")
	@JAVA_HOME="$$($(BIN)/python -m levain.warehouse.spark)" $(BIN)/python tests/python/support/chaos.py $(ARGS)

bench: setup-dev bench-jars ## benchmarks, one after the other, each a table
	@set -e; export JAVA_HOME="$$($(BIN)/python -m levain.warehouse.spark)"; \
	  for bench in $(BENCHES); do echo "== bench/$$bench.py"; $(BIN)/python bench/$$bench.py; done
