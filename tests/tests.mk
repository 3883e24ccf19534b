# Runs of this project's own tests, beside those that a project made from it has, too: the Makefile includes them.
.PHONY: test-slow test-engines

test-slow: setup-dev spark-jars ## what takes long: rare losses of state, contracts that change, docs, other stores
	@$(PYTEST) $(FOUR_AT_A_TIME) $(ENDS_IF_IT_HANGS) -m "slow and not full" $(ARGS)

test-engines: setup-dev spark-jars ## the whole project built on both engines, and every row compared
	@$(PYTEST) tests/python/project/test_two_engines.py::test_both_engines_build_the_same_rows $(ARGS)
