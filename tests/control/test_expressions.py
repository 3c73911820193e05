"""CEL: what expressions make of values, what the compiler refuses, and what ends one that costs too much."""

from __future__ import annotations

import datetime
import math
import time
from typing import Any

import pytest

from jindou.control.api.expressions.compiler import CompileError, Environment
from jindou.control.api.expressions.definitions import validate
from jindou.control.api.expressions.language import engine
from jindou.control.api.expressions.language.evaluation import evaluate
from jindou.control.api.expressions.language.frames import Frame, Lazy
from jindou.control.api.expressions.language.values import CelError, CostExceeded, Optional
from jindou.control.api.expressions.rules import compiled, judge
from jindou.control.api.expressions.types import Schemas, escaped
from jindou.control.api.resources.definitions import Root
from jindou.control.api.resources.schema import from_document
from jindou.control.api.rules.custom import structural

ANY = Environment({"self": "dyn"})
UTC = datetime.UTC


def value(text: str, self: Any = None) -> Any:
    return evaluate(ANY.compile(text).run, {"self": self})[0]


@pytest.mark.parametrize(
    ("text", "self", "wanted"),
    [
        ("self.a.b > 1", {"a": {"b": 3}}, True),
        ("has(self.a) && !has(self.b)", {"a": None}, True),
        ("self.a.?c.orValue(5)", {"a": {}}, 5),
        ("self.?x.?y.hasValue()", {}, False),
        ("self.all(x, x > 1)", [2, 3], True),
        ("self.exists(x, x.y > 1)", [{}, {"y": 2}], True),
        ("self.all(x, x.y > 1)", [{}, {"y": 0}], False),  # one error, and one that settles it
        ("self.map(x, x > 1, x * 2)", [1, 2, 3], [4, 6]),
        ("self.filter(x, x > 1)", [1, 2], [2]),
        ("self.exists_one(x, x > 2)", [1, 2, 3], True),
        ("self.exists_one(i, x, x == i)", [0, 2], True),
        ("self.all(i, x, x > i)", [1, 2], True),
        ("self.transformList(i, x, x + i)", [1, 2], [1, 3]),
        ("self.transformMap(k, v, v + 1)", {"a": 1}, {"a": 2}),
        ("optional.of(1).optMap(x, x + 1).orValue(0)", None, 2),
        ("[?optional.none(), ?optional.of(2)]", None, [2]),
        ("self == 1.0", 1, True),
        ("dyn(1) == 'a'", None, False),
        ("dyn(true) == 1", None, False),
        ("1 < 2.5 && 2u > 1", None, True),
        ("-5 / 2 == -2 && -5 % 3 == -2", None, True),
        ("1.0 / 0.0", None, math.inf),
        ("'%s %d %.2f %x %s'.format(['a', 1, 2.5, 255, ['b', 'c']]) + '%s'.format([[1.5]])", None, 'a 1 2.50 ff ["b", "c"][1.500000]'),
        ("'%s'.format([timestamp('2020-01-01T00:00:00Z')])", None, "2020-01-01T00:00:00Z"),
        ("timestamp('2020-01-01T01:00:00Z') - duration('1h')", None, datetime.datetime(2020, 1, 1, tzinfo=UTC)),
        ("duration('90m').getHours()", None, 1),
        ("string(duration('90s')) + string(1.5) + string(true)", None, "90s1.5true"),
        ("'a,b'.split(',').join('-') + 'AbC'.lowerAscii() + 'x'.replace('x', 'y')", None, "a-babcy"),
        ("'abab'.findAll('a(b)')", None, ["ab", "ab"]),
        ("'abc'.find('x')", None, ""),
        ("'abc'.matches('^a.*$')", None, True),
        ("[3, 1, 2].sum() + [3, 1].min() + [1, 3].max()", None, 10),
        ("['a', 'b'].isSorted() && [1, 2].indexOf(2) == 1 && [1, 1].lastIndexOf(1) == 1", None, True),
        ("sets.contains([1, 2], [1]) && sets.intersects([1], [1, 2]) && sets.equivalent([1, 1], [1])", None, True),
        ("[2, 1].sort() + [1, [2]].flatten() + [1, 1].distinct() + lists.range(2)", None, [1, 2, 1, 2, 1, 0, 1]),
        ("quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('1') == quantity('1000m')", None, True),
        ("quantity('1k').add(quantity('1')).sub(1).asInteger()", None, 1000),
        ("isQuantity('1x') || isIP('1.2.3') || isCIDR('10.0.0.0') || isURL('../a') || isSemver('v1.0')", None, False),
        ("ip('::1').isLoopback() && ip('192.168.0.1').family() == 4 && !ip.isCanonical('2001:DB8::1')", None, True),
        ("cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", None, True),
        ("string(cidr('10.0.0.5/8').masked())", None, "10.0.0.0/8"),
        ("url('https://u@[::1]:80/p?a=1&a=2').getHostname() + url('https://h:80').getPort()", None, "::180"),
        ("url('https://h/?a=1&a=2').getQuery()['a']", None, ["1", "2"]),
        ("semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).minor() == 2", None, True),
        ("semver('1.0.0-alpha').isLessThan(semver('1.0.0'))", None, True),
        ("format.dns1123Label().validate('a-b').hasValue()", None, False),
        ("format.named('uuid').value().validate('x').value()[0]", None, "does not match the UUID format"),
        ("type(self) == string && type(quantity('1')) == kubernetes.Quantity", "a", True),
        ("self.metadata.namespace", {"metadata": {"namespace": "x"}}, "x"),
        ("'ab'.replace('', '-') + 'aaa'.replace('a', 'b', 2)", None, "-a-b-bba"),
        ("'a(b)[(]c'.findAll('(a)\\\\Q(b)\\\\E[[](?P<x>[(])')", None, ["a(b)[("]),
        ("lists.range(-5)", None, []),
    ],
)  # fmt: skip
def test_values(text: str, self: Any, wanted: Any) -> None:
    found = value(text, self)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("text", "self", "says"),
    [
        ("self.a.c > 1", {"a": {}}, "no such key: c"),
        ("self.x == 1 || self.y == 1", {}, "no such key: x"),
        ("self.all(x, x.y > 1)", [{}, {"y": 2}], "no such key: y"),
        ("self[5]", [1], "index out of bounds: 5"),
        ("self + 1", "a", "no such overload"),
        ("9223372036854775807 + 1", None, "integer overflow"),
        ("1 / 0", None, "division by zero"),
        ("int(self)", "x", "type conversion error from 'string' to 'int'"),
        ("optional.none().value()", None, "optional.none() dereference"),
        ("ip('::ffff:1.2.3.4')", None, 'IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed'),
        ("[].min()", None, "min called on empty list"),
        ("self.matches('[' + 'a')", "x", "missing ]"),
        ("uint(self)", "9" * 5000, "no such overload"),
        ("int(self)", "9" * 5000, "type conversion error from 'string' to 'int'"),
        ("semver(self)", "1.0.0-" + "9" * 5000, "value out of range"),
        ("self[0.0 / 0.0]", [1], "index out of bounds"),
    ],
)
def test_errors(text: str, self: Any, says: str) -> None:
    with pytest.raises(CelError) as caught:
        value(text, self)
    assert says in str(caught.value)


def test_a_loop_that_costs_too_much_is_ended() -> None:
    numbers = list(range(200))
    with pytest.raises(CostExceeded):
        value("self.all(x, self.all(y, self.all(z, x + y + z >= 0)))", numbers)


def test_the_clock_ends_what_the_cost_would_let_go_on() -> None:
    program = ANY.compile("self.all(x, self.all(y, x + y >= 0))")
    with pytest.raises(CostExceeded):
        evaluate(program.run, {"self": list(range(300))}, 1_000_000_000, ends=1.0)


def test_a_regular_expression_is_matched_in_linear_time() -> None:
    assert value("self.matches('^(a+)+$')", "a" * 5000 + "!") is False


@pytest.mark.parametrize(
    ("text", "self"),
    [
        ("'x'.find(self)", "[" * 16_000),
        ("'x'.find(self)", "[[:a" * 4_000 + "\\"),
        ("'x'.matches(self)", "[[:a" * 200_000),
        ("self.distinct().size()", list(range(20_000))),
        ("self.sort().size()", list(range(20_000))),
        ("'aaaaaaaaaa'.replace('a', self)", "b" * 3_000_000),
        ("self.join(self[0])", ["b" * 3_000_000] * 1000),
        ("'%s%s%s%s%s%s'.format([self, self, self, self, self, self])", "b" * 3_000_000),
    ],
)
def test_what_users_write_takes_no_longer_than_it_is_long(text: str, self: Any) -> None:
    began = time.process_time()
    with pytest.raises(CelError):
        value(text, self)
    assert time.process_time() - began < 2.5


def test_groups_are_taken_out_of_a_pattern_in_one_go() -> None:
    began = time.process_time()
    for pattern in ("[" * 200_000, "(" * 200_000, "[[:a" * 50_000 + "\\", "(?P<" * 50_000):
        engine.without_groups(pattern)
    assert time.process_time() - began < 2.5


def test_a_variable_that_is_nested_too_deeply_is_an_error_each_time() -> None:
    def work(frame: Frame) -> Any:
        raise RecursionError

    lazy, frame = Lazy(work), Frame({}, 1, 0.0)
    for _ in range(2):
        with pytest.raises(CelError, match="nested too deeply"):
            lazy.get(frame)


def test_deep_nesting_is_refused_and_nothing_breaks() -> None:
    with pytest.raises(CelError):
        value("(" * 3000 + "1" + ")" * 3000)


# ---------------------------------------------------------------- compiling

TYPED = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "b": {"type": "string"},
        "l": {"type": "array", "items": {"type": "string"}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        "free": {"x-kubernetes-int-or-string": True},
        "when": {"type": "string", "format": "date-time"},
        "a-b.c": {"type": "string"},
        "namespace": {"type": "string"},
    },
}


def typed() -> Environment:
    schemas = Schemas()
    shape = schemas.shape(from_document(TYPED))
    assert shape is not None
    return Environment({"self": schemas.type(shape)}, pool=schemas.pool)


@pytest.mark.parametrize(
    "text",
    [
        "self.a > 1 && self.b == 'x' && self.l[0] == 'y' && self.m['k'] == 1",
        "self.m.all(k, v, v > 1) && self.free == 'x' || self.free == 3",
        "self.when > timestamp('2020-01-01T00:00:00Z')",
        "self.a__dash__b__dot__c == self.__namespace__",
        "self.?a.orValue(1) == 1",
    ],
)
def test_what_fits_its_types_compiles(text: str) -> None:
    assert typed().compile(text).result == "BOOL"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("self.foo > 1", "ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 1\n | ....^"),
        ("self.a > 'x'", "found no matching overload for '_>_' applied to '(int, string)'"),
        ("self.a == null", "found no matching overload for '_==_' applied to '(int, null)'"),
        ("self.a.b", "type 'int' does not support field selection"),
        ("foo.bar.baz", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')"),
        ("self.a >", "Syntax error: mismatched input '<EOF>'"),
        ("self.b.sum()", "found no matching overload for 'sum' applied to 'string.()'"),
        ("math.greatest(1, 2) > 1", "undeclared reference to 'math'"),
        ("self.b.matches('[a')", "ERROR: <input>:1:16: invalid matches argument"),
        ("duration('x') > duration('1s')", "ERROR: <input>:1:10: invalid duration argument"),
        ("[1, 'a'].size() > 1", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
    ],
)
def test_what_does_not_is_told_in_the_original_words(text: str, says: str) -> None:
    with pytest.raises(CompileError) as caught:
        typed().compile(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.b-c/d", "a__dot__b__dash__c__slash__d"),
        ("namespace", "__namespace__"),
        ("a__b", "a__underscores__b"),
        ("1a", ""),
        ("a b", ""),
    ],
)
def test_names_that_cel_cannot_say(name: str, wanted: str) -> None:
    assert escaped(name) == wanted


def test_a_machine_without_the_library_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cel_expr_python", None)
    engine.cel.cache_clear()
    try:
        with pytest.raises(engine.Unavailable) as caught:
            Environment({"self": "dyn"}).compile("true")
        assert "cel-expr-python" in caught.value.message
    finally:
        engine.cel.cache_clear()


# ---------------------------------------------------------------- rules of a schema


def ruled(rules: list[dict[str, Any]], **properties: Any) -> dict[str, Any]:
    held = {
        "type": "object", "x-kubernetes-validations": rules,
        "properties": {"n": {"type": "integer"}, "s": {"type": "string", "maxLength": 5}, **properties},
    }  # fmt: skip
    return {"type": "object", "properties": {"spec": held}}


def judged(document: dict[str, Any], spec: Any, old: Any = None) -> list[str]:
    root = Root(document, False)
    obj, before = {"metadata": {"name": "x"}, "spec": spec}, None
    if old is not None:
        before = {"metadata": {"name": "x"}, "spec": old}
    found = structural.validate(root, obj, before)
    return [f"{f.field}: {f.message}" for f in judge(compiled(root), obj, before, found)]


def test_a_rule_that_does_not_hold() -> None:
    assert judged(ruled([{"rule": "self.n > 1"}]), {"n": 1}) == [
        "spec: Invalid value: failed rule: self.n > 1"
    ]
    assert judged(ruled([{"rule": "self.n > 1"}]), {"n": 2}) == []


def test_its_message_reason_and_path() -> None:
    rule = {
        "rule": "self.n > 1", "message": "m", "messageExpression": "'n is %d'.format([self.n])",
        "reason": "FieldValueForbidden", "fieldPath": ".n",
    }  # fmt: skip
    assert judged(ruled([rule]), {"n": 1}) == ["spec.n: Forbidden: n is 1"]
    rule["messageExpression"] = "self.s"  # is not there
    assert judged(ruled([rule]), {"n": 1}) == ["spec.n: Forbidden: m"]


def test_transition_rules_wait_for_an_older_value() -> None:
    rule = ruled([{"rule": "self.n >= oldSelf.n"}])
    assert judged(rule, {"n": 1}) == []
    assert judged(rule, {"n": 1}, {"n": 2}) == [
        "spec: Invalid value: failed rule: self.n >= oldSelf.n"
    ]
    optional = ruled([{"rule": "oldSelf.hasValue() || self.n == 1", "optionalOldSelf": True}])
    assert judged(optional, {"n": 2}) != []
    assert judged(optional, {"n": 2}, {"n": 1}) == []


def test_items_of_a_map_list_are_compared_by_their_keys() -> None:
    ports = {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object", "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
            "x-kubernetes-validations": [{"rule": "self.port == oldSelf.port"}],
        },
    }  # fmt: skip
    document = ruled([], ports=ports)
    old = {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}
    assert (
        judged(document, {"ports": [{"name": "b", "port": 2}, {"name": "c", "port": 9}]}, old) == []
    )
    assert judged(document, {"ports": [{"name": "b", "port": 1}]}, old) == [
        "spec.ports[0]: Invalid value: failed rule: self.port == oldSelf.port"
    ]


def test_a_set_is_the_same_in_any_order_and_adds_up_without_doubles() -> None:
    rules = [{"rule": "self == ['a', 'b'] && (self + ['b', 'c']).size() == 3"}]
    held = {
        "type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"},
        "x-kubernetes-validations": rules,
    }  # fmt: skip
    assert judged(ruled([], held=held), {"held": ["b", "a"]}) == []
    assert judged(ruled([], held=held), {"held": ["b"]}) != []


def test_what_did_not_change_is_not_judged_again() -> None:
    numbers = {
        "type": "object",
        "additionalProperties": {
            "type": "integer", "maximum": 9, "x-kubernetes-validations": [{"rule": "self > 5"}],
        },
    }  # fmt: skip
    document = ruled([], numbers=numbers)
    old = {"n": 1, "numbers": {"a": 1, "b": 99}}
    assert judged(document, {"n": 2, "numbers": {"a": 1, "b": 99}}, old) == []
    assert judged(document, {"n": 1, "numbers": {"a": 2, "b": 99}}, old) == [
        "spec.numbers[a]: Invalid value: 2: failed rule: self > 5"
    ]


def test_rules_wait_until_the_object_fits_its_schema() -> None:
    found = judged(ruled([{"rule": "self.n > 1"}]), {"n": "x"})
    assert len(found) == 1
    assert "some validation rules were not checked because the object was invalid" in found[0]


def test_an_error_of_a_rule_refuses_the_object() -> None:
    assert judged(ruled([{"rule": "self.s == 'x'"}]), {}) == [
        "spec: Invalid value: \"object\": no such key: s evaluating rule: self.s == 'x'"
    ]


@pytest.mark.parametrize("rule", [{"rule": "self +"}, {"rule": "true", "fieldPath": ".gone"}])
def test_a_rule_that_is_wrong_and_stored_all_the_same_lets_nothing_pass(rule: Any) -> None:
    (says,) = judged(ruled([rule]), {"n": 1})
    assert "rule compile error: " in says


def test_rules_under_all_of_and_on_embedded_objects() -> None:
    part = {"properties": {"n": {"x-kubernetes-validations": [{"rule": "self > 3"}]}}}
    document = ruled([])
    document["properties"]["spec"]["allOf"] = [part]
    assert judged(document, {"n": 3}) == ["spec.n: Invalid value: 3: failed rule: self > 3"]
    embedded = {
        "type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True,
        "x-kubernetes-validations": [{"rule": "self.kind == 'Pod' && self.metadata.name == 'a'"}],
    }  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    assert judged(ruled([], embedded=embedded), {"embedded": pod}) == []


def test_one_object_may_not_cost_too_much() -> None:
    loop = {"rule": "self.l.all(x, self.l.all(y, x != y || true))"}
    texts = {"type": "array", "items": {"type": "string"}}
    found = judged(ruled([loop], l=texts), {"l": ["x" * 50] * 2000})
    assert len(found) == 1
    assert "cost" in found[0]


AT = "spec.validation.openAPIV3Schema"


@pytest.mark.parametrize(
    ("rule", "field", "says"),
    [
        ({"rule": " "}, "rule", "Required value: rule is not specified"),
        ({"rule": "true", "message": " "}, "message", "must be non-empty if specified"),
        ({"rule": "true", "message": "a\nb"}, "message", "must not contain line breaks"),
        ({"rule": "self.n\n> 1"}, "message", "message must be specified if rule contains line breaks"),
        ({"rule": "self.foo > 1"}, "rule", "compilation failed: ERROR: <input>:1:5: undefined field 'foo'"),
        ({"rule": "self.n"}, "rule", "cel expression must evaluate to a bool"),
        ({"rule": "true", "messageExpression": "1"}, "messageExpression", "messageExpression must evaluate to a string"),
        ({"rule": "true", "reason": "x"}, "reason", 'Unsupported value: "x": supported values: "FieldValueDuplicate"'),
        ({"rule": "true", "fieldPath": ".x"}, "fieldPath", "must be a valid path"),
        ({"rule": "true", "optionalOldSelf": True}, "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused_with_the_definition(
    rule: dict[str, Any], field: str, says: str
) -> None:
    (fault,) = validate(ruled([rule]), AT)
    assert fault.field == f"{AT}.properties[spec].x-kubernetes-validations[0].{field}"
    assert says in fault.message


def test_old_values_need_a_list_with_keys() -> None:
    items = {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    (fault,) = validate(ruled([], l={"type": "array", "items": items}), AT)
    assert "uncorrelatable portion of the schema within" in fault.message


LIMITED = {
    "s": {"type": "string"},
    "s9": {"type": "string", "maxLength": 900},
    "l9": {"type": "array", "maxItems": 3000, "items": {"type": "string", "maxLength": 900}},
    "o": {
        "type": "array", "maxItems": 4000,
        "items": {"type": "object", "properties": {"n": {"type": "string", "maxLength": 63}}},
    },
    "m": {"type": "object", "additionalProperties": {"type": "string"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "factor"),
    [  # as kube-apiserver says them
        ("self.s9.contains('a') && self.l9.all(x, x.startsWith('a') || x == 'b')", ""),
        ("self.l9.all(x, x.contains(self.s9))", "38.9x"),
        ("self.s.split(',').all(x, x.trim() != '')", "1.321205x"),
        ("self.o.all(x, self.o.exists_one(y, x.n == y.n))", "51.2x"),
        ("self.l9.distinct().size() == self.l9.size()", "1.8x"),
        ("self.s.contains(self.s)", "more than 100x"),
        ("self.m.all(k, k.contains('a'))", ""),
    ],
)
def test_what_a_rule_may_cost_is_known_before(rule: str, factor: str) -> None:
    found = validate(ruled([{"rule": rule}], **LIMITED), AT)
    if not factor:
        assert found == []
        return
    assert f"estimated rule cost exceeds budget by factor of {factor} (try" in found[0].message
    assert found[0].reason == "FieldValueForbidden"


def test_a_rule_costs_as_often_as_its_value_can_be_there() -> None:
    item = {
        "type": "object", "properties": {"x": {"type": "string", "maxLength": 1000}},
        "x-kubernetes-validations": [{"rule": "self.x.contains('abcdefghijklmnopqrstuvwxyz')"}],
    }  # fmt: skip
    few = {"type": "array", "maxItems": 100, "items": item}
    assert validate(ruled([], l=few), AT) == []
    found = validate(ruled([], l={"type": "array", "items": item}), AT)
    assert "estimated rule cost exceeds budget" in found[0].message
    assert found[-1].field == AT


def test_an_optional_says_whether_it_is_there() -> None:
    assert evaluate(ANY.compile("self.value()").run, {"self": Optional(True, 3)})[0] == 3
