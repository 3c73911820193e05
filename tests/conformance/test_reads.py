"""Reads: revisions, pages, and what list items say. Secrets, for no controller makes any."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conformance.wire import Answer, Api

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
LISTS = "ListOptions.meta.k8s.io"
MATCH = "resourceVersionMatch"


def secrets(ns: str) -> str:
    return f"/api/v1/namespaces/{ns}/secrets"


def fill(api: Api, ns: str, *names: str) -> list[Any]:
    return [api.make(secrets(ns), {"metadata": {"name": name}}) for name in names]


def revision(obj: Any) -> int:
    return int(obj["metadata"]["resourceVersion"])


def names(listing: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listing["items"]]


def tampered(token: str, **changes: Any) -> str:
    held = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return base64.urlsafe_b64encode(json.dumps({**held, **changes}).encode()).decode().rstrip("=")


def test_01_one_revision_counts_the_whole_store(api: Api, ns: str) -> None:
    before = revision(api.get(f"/api/v1/namespaces/{ns}/configmaps"))
    made = api.make(secrets(ns), {"metadata": {"name": "a"}})
    after = revision(api.get(f"/api/v1/namespaces/{ns}/configmaps"))
    assert before < revision(made) <= after


@pytest.mark.guarantee(4)
def test_01_each_write_has_a_higher_revision(api: Api, ns: str) -> None:
    revisions = [revision(made) for made in fill(api, ns, "a", "b", "c")]
    assert revisions == sorted(set(revisions))
    assert str(revisions[0]) == api.get(f"{secrets(ns)}/a")["metadata"]["resourceVersion"]


def test_01_a_list_has_a_revision_also_when_it_is_empty(api: Api, ns: str) -> None:
    listing = api.get(secrets(ns))
    assert listing["items"] == []
    assert revision(listing) > 0


def test_02_unset_and_zero_show_what_there_is(api: Api, ns: str) -> None:
    (made,) = fill(api, ns, "a")
    assert api.get(f"{secrets(ns)}/a") == made
    assert names(api.get(secrets(ns))) == ["a"]
    cached = api.get(secrets(ns), resourceVersion=revision(made))
    assert names(cached) == ["a"]
    assert revision(cached) >= revision(made)
    assert api.get(f"{secrets(ns)}/a", resourceVersion=revision(made)) == made
    assert names(api.get(secrets(ns), resourceVersion="0")) == ["a"]  # the cache has it by now


def test_02_a_limit_with_revision_zero_is_as_good_as_none(api: Api, ns: str) -> None:
    made = fill(api, ns, "a", "b", "c")
    api.get(secrets(ns), resourceVersion=revision(made[-1]))
    listing = api.get(secrets(ns), resourceVersion="0", limit=1)
    assert names(listing) == ["a", "b", "c"]
    assert "continue" not in listing["metadata"]


def test_02_not_older_than_is_the_present_and_exact_is_the_past(api: Api, ns: str) -> None:
    first, _ = fill(api, ns, "a", "b")
    at = revision(first)
    newer = api.get(secrets(ns), resourceVersion=at, resourceVersionMatch="NotOlderThan")
    assert names(newer) == ["a", "b"]
    assert revision(newer) > at
    exact = api.get(secrets(ns), resourceVersion=at, resourceVersionMatch="Exact")
    assert names(exact) == ["a"]
    assert revision(exact) == at


def test_02_exact_shows_old_contents_and_what_is_gone(api: Api, ns: str) -> None:
    first, second = fill(api, ns, "a", "b")
    path = f"{secrets(ns)}/a"
    api.good("PUT", path, {**first, "data": {"x": "eA=="}})
    api.good("DELETE", f"{secrets(ns)}/b")
    at = {"resourceVersion": revision(second), "resourceVersionMatch": "Exact"}
    past = api.get(secrets(ns), **at)
    assert names(past) == ["a", "b"]
    assert "data" not in past["items"][0]
    assert revision(past["items"][0]) == revision(first)
    page = api.get(secrets(ns), **at, limit=1)
    rest = api.get(secrets(ns), limit=1, **{"continue": page["metadata"]["continue"]})
    assert (names(page), names(rest)) == (["a"], ["b"])
    assert revision(page) == revision(rest) == revision(second)


def test_02_a_limit_and_a_revision_mean_exactly_that_one(api: Api, ns: str) -> None:
    first, _ = fill(api, ns, "a", "b")
    listing = api.get(secrets(ns), resourceVersion=revision(first), limit=10)
    assert names(listing) == ["a"]
    assert revision(listing) == revision(first)


@pytest.mark.parametrize(
    ("query", "reasons", "says"),
    [
        ({MATCH: "Exact"}, ["Forbidden"], "is forbidden unless resourceVersion is provided"),
        ({MATCH: "Exact", "resourceVersion": "0"}, ["Forbidden"], '"exact" is forbidden for'),
        ({MATCH: "Near", "resourceVersion": "1"}, ["NotSupported"], 'Unsupported value: "Near"'),
        ({MATCH: "Near"}, ["Forbidden", "NotSupported"], "unless resourceVersion is provided"),
        ({"sendInitialEvents": "true"}, ["Forbidden"], "sendInitialEvents is forbidden for list"),
        ({"watch": "1", MATCH: "NotOlderThan"}, ["Forbidden"], "unless sendInitialEvents is"),
        ({"watch": "1", "sendInitialEvents": "true"}, ["Forbidden"], "requires setting"),
        (
            {"watch": "1", "sendInitialEvents": "true", MATCH: "Exact"},
            ["Forbidden", "NotSupported"],
            'supported values: "NotOlderThan"',
        ),
    ],
)
def test_03_options_that_exclude_each_other(
    api: Api, ns: str, query: dict[str, str], reasons: list[str], says: str
) -> None:
    answer = api.ask("GET", secrets(ns), **query)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert answer.message.startswith(f'{LISTS} "" is invalid: ')
    assert says in answer.message
    assert [reason for reason, _ in answer.causes] == [f"FieldValue{r}" for r in reasons]
    assert answer.json["details"]["kind"] == "ListOptions"


def test_03_a_continued_list_names_no_revision(api: Api, ns: str) -> None:
    made = fill(api, ns, "a", "b")
    token = api.get(secrets(ns), limit=1)["metadata"]["continue"]
    query = {"continue": token, "resourceVersion": str(revision(made[0])), "limit": 1}
    both = api.ask("GET", secrets(ns), **query, resourceVersionMatch="Exact")
    assert both.code == 422
    assert "is forbidden when continue is provided" in both.message
    answer = api.ask("GET", secrets(ns), **query)
    assert answer.code == 400
    assert answer.message == "specifying resource version is not allowed when using continue"


@pytest.mark.parametrize("wrong", ["later", "-1", "1.5", "²", 30 * "9"])
def test_03_a_revision_is_a_number(api: Api, ns: str, wrong: str) -> None:
    answer = api.ask("GET", secrets(ns), resourceVersion=wrong)
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert f'parsing "{wrong}": ' in answer.message


@pytest.mark.parametrize("wrong", ["many", "²", 30 * "9"])
def test_03_a_limit_is_a_number(api: Api, ns: str, wrong: str) -> None:
    answer = api.ask("GET", secrets(ns), limit=wrong)
    assert (answer.code, answer.reason) == (400, "BadRequest")
    assert f'parsing "{wrong}": ' in answer.message


@pytest.mark.guarantee(9)
@pytest.mark.slow
def test_04_the_future_is_waited_for_and_then_refused(api: Api, ns: str, kubeconfig: str) -> None:
    (made,) = fill(api, ns, "a")
    future = revision(made) + 100_000
    asked: list[tuple[str, dict[str, str]]] = [
        (f"{secrets(ns)}/a", {}),
        (secrets(ns), {}),
        (secrets(ns), {MATCH: "NotOlderThan"}),
        (secrets(ns), {MATCH: "Exact"}),
    ]

    def ask(path: str, query: dict[str, str]) -> Answer:
        other = Api.of_kubeconfig(kubeconfig)
        try:
            return other.ask("GET", path, resourceVersion=future, **query)
        finally:
            other.close()

    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(ask, *zip(*asked, strict=True)))
    for answer in answers:
        assert (answer.code, answer.reason) == (504, "Timeout")
        says = f"Timeout: Too large resource version: {future}, current: "
        assert answer.message.startswith(says)
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        assert answer.json["details"] == {"causes": [cause], "retryAfterSeconds": 1}
        assert answer.headers["Retry-After"] == "1"


def test_04_what_comes_meanwhile_is_waited_for(api: Api, ns: str, kubeconfig: str) -> None:
    wanted = revision(api.get(secrets(ns))) + 8
    other = Api.of_kubeconfig(kubeconfig)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(other.get, secrets(ns), resourceVersion=wanted)
        made = fill(api, ns, *"abcdefgh")
        listing = asked.result()
    other.close()
    assert revision(listing) >= wanted
    due = [one["metadata"]["name"] for one in made if revision(one) <= wanted]
    assert set(due) <= set(names(listing))


@pytest.mark.guarantee(8)
def test_06_pages_are_of_one_revision(api: Api, ns: str) -> None:
    fill(api, ns, "a", "b", "c", "d", "e")
    first = api.get(secrets(ns), limit=2)
    api.good("DELETE", f"{secrets(ns)}/d")
    fill(api, ns, "ca")
    second = api.get(secrets(ns), limit=2, **{"continue": first["metadata"]["continue"]})
    third = api.get(secrets(ns), limit=2, **{"continue": second["metadata"]["continue"]})
    assert [names(page) for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
    assert revision(first) == revision(second) == revision(third)
    told = [page["metadata"].get("remainingItemCount") for page in (first, second, third)]
    assert told == [3, 1, None]
    assert "continue" not in third["metadata"]


def test_06_a_last_page_that_is_full_has_no_successor(api: Api, ns: str) -> None:
    fill(api, ns, "a", "b")
    listing = api.get(secrets(ns), limit=2)
    assert "continue" not in listing["metadata"]
    assert "remainingItemCount" not in listing["metadata"]


def test_06_with_a_selector_nobody_says_how_many_remain(api: Api, ns: str) -> None:
    for name in ("a", "b", "c"):
        api.make(secrets(ns), {"metadata": {"name": name, "labels": {"x": "y"}}})
    first = api.get(secrets(ns), limit=2, labelSelector="x=y")
    assert "remainingItemCount" not in first["metadata"]
    rest = api.get(
        secrets(ns), limit=2, labelSelector="x=y", **{"continue": first["metadata"]["continue"]}
    )
    assert names(first) + names(rest) == ["a", "b", "c"]


def test_06_a_table_has_pages_too(api: Api, ns: str) -> None:
    fill(api, ns, "a", "b", "c")
    first = api.good("GET", secrets(ns), accept=TABLE, limit=2)
    token = first["metadata"]["continue"]
    rest = api.good("GET", secrets(ns), accept=TABLE, **{"continue": token})
    assert [row["cells"][0] for page in (first, rest) for row in page["rows"]] == ["a", "b", "c"]
    assert first["metadata"]["remainingItemCount"] == 1


@pytest.mark.parametrize("changes", [{"v": "meta.k8s.io/v9"}, {"start": "../x"}, {"start": ""}])
def test_06_a_token_that_was_never_given(api: Api, ns: str, changes: dict[str, str]) -> None:
    fill(api, ns, "a", "b")
    token = api.get(secrets(ns), limit=1)["metadata"]["continue"]
    for wrong in (tampered(token, **changes), "nonsense"):
        answer = api.ask("GET", secrets(ns), limit=1, **{"continue": wrong})
        assert (answer.code, answer.reason) == (400, "BadRequest")
        assert answer.message.startswith("invalid continue token: continue key is not valid")


def test_07_items_of_built_in_kinds_say_no_kind(api: Api, ns: str) -> None:
    fill(api, ns, "a")
    listing = api.get(secrets(ns))
    assert (listing["kind"], listing["apiVersion"]) == ("SecretList", "v1")
    assert {"kind", "apiVersion"}.isdisjoint(listing["items"][0])
    one = api.get(f"{secrets(ns)}/a")
    assert (one["kind"], one["apiVersion"]) == ("Secret", "v1")
    rows = api.good("GET", secrets(ns), accept=TABLE, includeObject="Object")["rows"]
    assert rows[0]["object"]["kind"] == "Secret"


def test_07_the_same_as_yaml(api: Api, ns: str) -> None:
    fill(api, ns, "a")
    answer = api.ask("GET", secrets(ns), accept="application/yaml")
    assert answer.headers["Content-Type"] == "application/yaml"
    text = answer.body.decode()
    assert "kind: SecretList" in text
    assert "kind: Secret\n" not in text


def test_07_items_of_custom_kinds_say_theirs(api: Api, ns: str) -> None:
    definition = {
        "metadata": {"name": "pages.reads.example.org"},
        "spec": {
            "group": "reads.example.org",
            "scope": "Namespaced",
            "names": {"plural": "pages", "kind": "Page"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    api.make(definitions, definition)
    try:
        path = f"/apis/reads.example.org/v1/namespaces/{ns}/pages"
        page = {"apiVersion": "reads.example.org/v1", "kind": "Page", "metadata": {"name": "a"}}
        deadline = time.monotonic() + 20
        while (answer := api.ask("POST", path, page)).code == 404:
            assert time.monotonic() < deadline, "the kind was never served"
        assert answer.code == 201
        listing = api.get(path)
        assert listing["kind"] == "PageList"
        assert listing["items"][0]["kind"] == "Page"
        assert listing["items"][0]["apiVersion"] == "reads.example.org/v1"
    finally:
        api.ask("DELETE", f"{definitions}/pages.reads.example.org")
