"""Runs suites of Great Expectations, in an environment that has it: `python run_suites.py SUITES ROWS`.

SUITES is a folder with `<topic>.json`, ROWS one with `<topic>.jsonl`, a row of the table per line. Prints JSON: topic
-> for each expectation its type, column, our rules, and the numbers of the rows that it finds unexpected.
"""

import json
import os
import sys
from decimal import Decimal
from pathlib import Path

os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import pandas as pd


def run(suite_file: Path, rows_file: Path) -> list[dict[str, object]]:
    lines = rows_file.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_float=Decimal) for line in lines]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    suite = context.suites.add(gx.ExpectationSuite(**json.loads(suite_file.read_text(encoding="utf-8"))))
    asset = context.data_sources.add_pandas("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": pd.DataFrame(rows, dtype=object)})
    found = []
    for result in batch.validate(suite, result_format="COMPLETE").results:
        config = result.expectation_config
        assert not result.exception_info.get("raised_exception"), (config.type, result.exception_info)
        kwargs = config.kwargs
        found.append(
            {
                "type": config.type,
                "column": kwargs.get("column") or [kwargs["column_A"], kwargs["column_B"]],
                "rules": config.meta["rules"],
                "unexpected": result.result.get("unexpected_index_list") or [],
                "success": result.success,
            }
        )
    return found


if __name__ == "__main__":
    suites, data = map(Path, sys.argv[1:])
    print(json.dumps({file.stem: run(suites / f"{file.stem}.json", file) for file in sorted(data.glob("*.jsonl"))}))
