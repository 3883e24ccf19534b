"""`levain new`: a contract drafted from a sample keeps the sample, and a project has nothing of the company in it."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from ingest.contracts import load_contract
from ingest.errors import BadInput
from ingest.settings import PROJECT_ROOT
from levain.cli import app
from levain.dev.draft import MADE_UP, Choices, Draft, draft, from_fields
from levain.dev.new import OWN, classify, new

ORDERS = """\
Order ID,Ordered At,Customer ID,Email,Items,Total Amount,Gift,Ship Date,Note
1001,2026-03-01 09:15:00,C-1,ann@example.org,2,19.90,true,2026-03-02,
1002,2026-03-01 10:02:11,C-2,bob@example.org,1,5.00,false,2026-03-02,ring twice
1003,2026-03-01 11:30:45,C-1,ann@example.org,3,42.45,false,,
"""
WORDS = re.compile(
    r"bak(?:ery|eries|er)\b|croissant|baguette|viennoiserie|pastry|boulanger|tea room|shops?\b|store_id|dim_store|"
    r"ventes|produit|marketplace|sales-events|sales_events|fct_sales|mart_top|product_id|loyalty|public_holidays",
    re.IGNORECASE,
)
BREAD_BASKET = PROJECT_ROOT.parent / "shared" / "data" / "bread_basket.csv"


def sample(folder: Path, text: str, name: str = "orders.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def drafted(folder: Path, text: str, name: str = "orders.csv", **choices: Any) -> tuple[Draft, dict[str, Any]]:
    """The draft, and its fields by name as the contract's reader has them."""
    found = draft(sample(folder, text, name), "orders", "shop", Choices(**choices))
    path = folder / "orders.odcs.yaml"
    path.write_text(found.contract, encoding="utf-8")
    return found, load_contract(path).by_name


def test_a_draft_has_types_ranges_and_what_is_always_there(tmp_path: Path) -> None:
    found, fields = drafted(tmp_path, ORDERS)
    assert (found.identity, found.event_time, found.key, found.rows) == ("order_id", "ordered_at", "customer_id", 3)
    kinds = {name: (each.logical_type, each.required) for name, each in fields.items()}
    assert kinds == {
        "order_id": ("integer", True),
        "ordered_at": ("timestamp", True),
        "customer_id": ("string", True),
        "email": ("string", True),
        "items": ("integer", True),
        "total_amount": ("number", True),
        "gift": ("boolean", True),
        "ship_date": ("date", False),
        "note": ("string", False),
    }
    assert (fields["items"].minimum, fields["items"].maximum) == (0, 10)
    amount = fields["total_amount"]
    assert (amount.precision, amount.scale, amount.minimum, amount.maximum) == (12, 2, 0, 100)
    assert fields["email"].pattern and not fields["note"].pattern


def test_few_values_that_come_back_are_an_enum(tmp_path: Path) -> None:
    rows = [f"{n},2026-03-01 09:15:00,{'paid' if n % 3 else 'open'},{n % 17}" for n in range(60)]
    _, fields = drafted(tmp_path, "\n".join(["id,at,status,place_id", *rows]) + "\n")
    assert fields["status"].allowed == ("open", "paid")
    assert fields["place_id"].allowed is None and fields["place_id"].identifier


def test_objects_and_arrays_are_those_of_contracts(tmp_path: Path) -> None:
    rows = [
        {
            "orderId": str(UUID(int=number)),
            "at": f"2026-01-0{number + 1}T00:00:00Z",
            "buyer": {"firstName": "A", "address": {"zip": "1"}} if number else {"firstName": "B"},
            "lines": [{"sku": "s", "qty": number, "price": 1.25}, {"sku": "t"}],
            "tags": ["x", None],
        }
        for number in range(3)
    ]
    found, fields = drafted(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "orders.json")
    assert (found.identity, fields["order_id"].format) == ("order_id", "uuid")
    assert fields["buyer_first_name"].required and not fields["buyer_address"].required
    assert fields["buyer_address_zip"].required
    members = {each.name: each for each in fields["lines"].items.members}
    assert [(name, each.logical_type, each.required) for name, each in members.items()] == [
        ("sku", "string", True),
        ("qty", "integer", False),
        ("price", "number", False),
    ]
    assert fields["tags"].items.logical_type == "string"


@pytest.mark.parametrize(
    ("text", "choices", "message"),
    [
        ("name,at\na,2026-01-01\na,2026-01-02\n", {}, "is an id"),
        ("id,name\n1,a\n2,b\n", {}, "nothing says when an event happened"),
        ("id,at\n", {}, "has no rows"),
        (ORDERS, {"identity": "customer_id"}, "is not different in every row"),
        (ORDERS, {"key": "nobody"}, "has no column nobody"),
        (ORDERS, {"event_time": "ship_date"}, "does not have a date or a timestamp in every row"),
        ("id,at,a b,a-b\n1,2026-01-01,1,2\n", {}, "no name that a contract can have"),
    ],
)
def test_what_a_sample_lacks_is_said(tmp_path: Path, text: str, choices: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as raised:
        drafted(tmp_path, text, **choices)
    assert raised.value.hint


def test_an_identity_can_be_made_up(tmp_path: Path) -> None:
    text = "name,at\na,2026-01-01\na,2026-01-02\n"
    found, fields = drafted(tmp_path, text, identity=MADE_UP)
    assert found.identity == MADE_UP and fields[MADE_UP].format == "uuid"
    assert f'"{MADE_UP}"' not in found.query


def test_fields_can_be_named_without_a_sample(tmp_path: Path) -> None:
    found = from_fields(["customer_id:string", "amount:number", "pieces:integer"], "orders", "shop")
    path = sample(tmp_path, found.contract, "orders.odcs.yaml")
    assert [*load_contract(path).by_name] == ["event_id", "event_time", "customer_id", "amount", "pieces"]
    with pytest.raises(BadInput, match="'amount:money' cannot be used"):
        from_fields(["amount:money"], "orders", "shop")


def test_every_file_of_the_repository_is_of_a_class() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout
    classes = {path: classify(path) for path in listed.splitlines()}
    assert [path for path, each in classes.items() if each is None] == []
    assert set(OWN) <= classes.keys()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project, as the command writes it."""
    folder = tmp_path_factory.mktemp("new")
    path = sample(folder, ORDERS)
    outcome = CliRunner().invoke(app, ["new", str(folder / "mine"), "--sample", str(path)])
    assert outcome.exit_code == 0, outcome.exception
    return folder / "mine"


def test_a_project_has_nothing_of_the_company(project: Path) -> None:
    found = {}
    for path in project.rglob("*"):
        if path.is_file() and (words := WORDS.findall(path.read_text(encoding="utf-8"))):
            found[str(path.relative_to(project))] = words
    assert found == {}
    assert WORDS.search("mart_top_products") and WORDS.search("a bakery chain")


def test_what_a_project_names_is_there(project: Path) -> None:
    text = (project / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE):
        assert (project / name).exists(), name
    assert "$" not in text


def test_a_folder_with_something_in_it_is_left_alone(project: Path, tmp_path: Path) -> None:
    found = from_fields(["amount:number"], "orders", "shop")
    with pytest.raises(BadInput, match="has something in it"):
        new(project, found)
    with pytest.raises(BadInput, match="lies in this project"):
        new(PROJECT_ROOT / "mine", found)


def random_tables(folder: Path, count: int) -> dict[str, tuple[Path, Choices]]:
    """Topic -> a sample of random columns: numbers of all sizes, times, texts with what texts may hold, objects."""
    rng = random.Random(20)
    texts = ("é☃", "it's", 'say "so"', "a,b", "{{ x }}", "two\nlines", " ", "\\", "%", "NULL", "null", "1e5", "-")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    kinds: dict[str, Any] = {
        "small": lambda: rng.randint(-3, 9),
        "large": lambda: rng.randint(-(10**12), 10**12),
        "huge": lambda: rng.randint(0, 2**63 - 1),
        "price": lambda: round(rng.uniform(0, 900), 2),
        "share": lambda: rng.random(),
        "wide": lambda: rng.uniform(-1e12, 1e12),
        "tiny": lambda: rng.random() * 1e-9,
        "flag": lambda: rng.random() < 0.5,
        "day": lambda: (start + timedelta(days=rng.randint(-9000, 900))).date().isoformat(),
        "moment": lambda: (start + timedelta(seconds=rng.random() * 1e7)).isoformat(),
        "clock": lambda: f"{rng.randint(0, 23):02}:30:00",
        "text": lambda: rng.choice(texts),
        "state": lambda: rng.choice(("open", "paid", "gone")),
        "mail": lambda: f"u{rng.randint(1, 9)}@example.org",
        "order": lambda: f"N{rng.randint(1, 99)}",
        "topic": lambda: rng.choice(("a", "b")),
        "never": lambda: None,
    }
    tables = {}
    for number in range(count):
        nested = number % 2 == 1
        names = rng.sample(sorted(kinds), 10)
        rows = []
        for place in range(80):
            row = {"id": place + 1, "at": (start + timedelta(minutes=place)).isoformat()}
            row |= {name: None if rng.random() < 0.1 else kinds[name]() for name in names}
            if nested:
                row["inner"] = {name: kinds[name]() for name in names[:3]} if rng.random() < 0.9 else None
                row["items"] = [{name: kinds[name]() for name in names[3:6]} for _ in range(rng.randint(0, 3))]
                row["list"] = [kinds[names[6]]() for _ in range(rng.randint(0, 3))]
            rows.append(row)
        path = folder / f"table-{number}.{'json' if nested else 'csv'}"
        with path.open("w", encoding="utf-8", newline="") as file:
            if nested:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            else:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        tables[f"table-{number}"] = path, Choices()
    if BREAD_BASKET.exists():  # real sales beside the project, as in test_end_to_end; they have no id, and repeat
        tables["basket"] = BREAD_BASKET, Choices(identity=MADE_UP)
    return tables


REPLAYED = """
import json, sys
from contextlib import closing
from pathlib import Path
import duckdb
from lake import Lake, Record
from ingest.contracts import load_contracts
from ingest.sources.replay import check_columns, encode, read_rows
lake = Lake(Path(sys.argv[1]))
for topic, contract in load_contracts().items():
    with closing(duckdb.connect()) as connection:
        query = Path("replay") / f"{topic}.sql"
        names, rows = read_rows(connection, query)
        check_columns(contract, names, query)
        sent = [encode(contract, row, number) for number, row in enumerate(rows, 1)]
    lake.land(topic, 0, [Record(n, n, key, value, headers) for n, (key, value, headers) in enumerate(sent)])
lake.build(*sys.argv[2:])
print(json.dumps(lake.read("select topic, verdict, failed_rules, count(*) from silver.int_messages group by all")))
"""


def test_each_row_of_a_sample_is_accepted(project: Path, tmp_path: Path) -> None:
    """Random tables, and real sales: each a topic of one project, replayed by the query that was drafted with it."""
    mine = tmp_path / "mine"
    shutil.copytree(project, mine)
    shutil.copy(project.parent / "orders.csv", mine / "replay")
    rows = {"orders": 3}
    for topic, (path, choices) in random_tables(tmp_path, 6).items():
        found = draft(path, topic, "source", choices)
        rows[topic] = found.rows
        (mine / "ingest" / "contracts" / f"{topic}.odcs.yaml").write_text(found.contract, encoding="utf-8")
        (mine / "replay" / f"{topic}.sql").write_text(found.query, encoding="utf-8")
        shutil.copy(path, mine / "replay")
    in_project(mine, "-m", "levain.cli", "generate")
    out = in_project(mine, "-c", REPLAYED, str(tmp_path / "home"), "--select", "+int_messages", "+mart_orders_daily")
    counts = {(topic, verdict, rules): number for topic, verdict, rules, number in json.loads(out.splitlines()[-1])}
    assert counts == {(topic, "accepted", ""): number for topic, number in rows.items()}
    assert sum(rows.values()) > 480


def in_project(project: Path, *arguments: str) -> str:
    """Run Python with the code of a project; what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{project}:{project}/tests/python/support",
            "HOME": str(Path.home()),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_newer_framework_is_merged(project: Path, tmp_path: Path) -> None:
    """As the project's README has it: what was changed here stays, what changed in the framework comes."""
    mine, upgrade = tmp_path / "mine", tmp_path / "upgrade"
    shutil.copytree(project, mine)
    stale = mine / "macros" / "portable" / "rows.sql"  # as it was in an older version
    newer = stale.read_text(encoding="utf-8")
    stale.write_text("older", encoding="utf-8")
    (mine / "macros" / "gone.sql").write_text("not in this version", encoding="utf-8")
    git(mine, "init", "-q", "-b", "main")
    git(mine, "add", "-A")
    git(mine, "commit", "-q", "-m", "Levain")
    git(mine, "branch", "levain")
    readme = mine / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "Ours.", encoding="utf-8")
    git(mine, "commit", "-qam", "Ours")
    git(mine, "worktree", "add", "-q", str(upgrade), "levain")
    assert CliRunner().invoke(app, ["new", str(upgrade), "--again"]).exit_code == 0
    git(upgrade, "add", "-A")
    git(upgrade, "commit", "-q", "-m", "A newer Levain")
    git(mine, "merge", "-q", "levain")
    assert stale.read_text(encoding="utf-8") == newer
    assert not (mine / "macros" / "gone.sql").exists()
    assert readme.read_text(encoding="utf-8").endswith("Ours.")
    assert (mine / "replay" / "orders.sql").exists()
    (mine / "README.md").write_text("not committed", encoding="utf-8")
    outcome = CliRunner().invoke(app, ["new", str(mine), "--again"])
    assert isinstance(outcome.exception, BadInput) and readme.exists()
