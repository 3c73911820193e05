"""ValidatingAdmissionPolicies: what they refuse, warn of and note, and which of them are refused themselves."""

from __future__ import annotations

import time
from typing import Any

import pytest

from jindou.control.api.policies import patching
from jindou.control.api.policies.checking import warnings
from jindou.control.api.policies.mutation_rules import policy as judge_mutating
from jindou.control.api.policies.rules import binding as judge_binding
from jindou.control.api.policies.rules import policy as judge_policy
from jindou.control.api.resources.registry import Registry
from jindou.control.api.rules.defaults.cluster import admission_binding, admission_policy
from jindou.objects.kinds import Kind
from jindou.transport import Peer
from tests.control.apis import Api, on_api

GROUP = "/apis/admissionregistration.k8s.io/v1"
POLICIES, BINDINGS = f"{GROUP}/validatingadmissionpolicies", f"{GROUP}/validatingadmissionpolicybindings"  # fmt: skip
KINDS = Kind(
    "admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", False
)  # fmt: skip
MAPS = "/api/v1/namespaces/default/configmaps"
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}


def policy(*validations: Any, rules: Any = None, **spec: Any) -> dict[str, Any]:
    held = [v if isinstance(v, dict) else {"expression": v} for v in validations]
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": rules or [RULE]},
            "validations": held,
            **spec,
        },
    }


def binding(*actions: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "b"},
        "spec": {"policyName": "p", "validationActions": list(actions or ("Deny",)), **spec},
    }


def config_map(name: str = "c", labels: Any = None, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels or {}}, "data": data}


async def bound(api: Api, made: dict[str, Any], bind: dict[str, Any] | None = None) -> None:
    for path, body in ((POLICIES, made), (BINDINGS, bind or binding())):
        reply = await api.ask("POST", path, body)
        assert reply.status == 201, reply.body


def told(made: Any, *objects: Any, bind: Any = None) -> list[tuple[int, str]]:
    """Status and message of the answer to each object that is created (dry) under a policy."""

    async def use(api: Api) -> list[tuple[int, str]]:
        await bound(api, made, bind)
        replies = [await api.ask("POST", f"{MAPS}?dryRun=All", obj) for obj in objects]
        return [(reply.status, reply.json.get("message", "")) for reply in replies]

    return on_api(use)


DENIED = (
    "configmaps \"c\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
)


def test_a_validation_that_does_not_hold() -> None:
    found = told(policy("object.data.a == '1'"), config_map(a="1"), config_map(a="2"))
    assert found == [(201, ""), (422, DENIED + "failed expression: object.data.a == '1'")]


@pytest.mark.parametrize(
    ("validation", "code", "says"),
    [
        ({"expression": "false", "message": " m "}, 422, "m"),
        ({"expression": "false", "messageExpression": "'no ' + object.metadata.name", "reason": "Forbidden"}, 403, "no c"),
        ({"expression": "false", "message": "m", "messageExpression": "string(object.x)"}, 422, "m"),
        ({"expression": "object.x == 1"}, 422, "expression 'object.x == 1' resulted in error: no such key: x"),
    ],
)  # fmt: skip
def test_messages_reasons_and_errors(validation: Any, code: int, says: str) -> None:
    assert told(policy(validation), config_map(a="1")) == [(code, DENIED + says)]


def test_the_status_says_who_refused() -> None:
    async def use(api: Api) -> Any:
        await bound(api, policy("false"))
        return (await api.ask("POST", MAPS, config_map())).json

    found = on_api(use)
    says = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: false"
    assert (found["reason"], found["code"]) == ("Invalid", 422)
    assert found["details"] == {"name": "c", "kind": "configmaps", "causes": [{"message": says}]}


def test_a_policy_without_a_binding_says_nothing_and_a_deleted_one_no_more() -> None:
    async def use(api: Api) -> list[int]:
        await api.ask("POST", POLICIES, policy("false"))
        codes = [(await api.ask("POST", f"{MAPS}?dryRun=All", config_map())).status]
        await api.ask("POST", BINDINGS, binding())
        codes.append((await api.ask("POST", f"{MAPS}?dryRun=All", config_map())).status)
        await api.ask("DELETE", f"{BINDINGS}/b")
        codes.append((await api.ask("POST", f"{MAPS}?dryRun=All", config_map())).status)
        return codes

    assert on_api(use) == [201, 422, 201]


def test_warnings_and_notes_for_the_audit_log() -> None:
    async def use(api: Api) -> Any:
        await bound(api, policy("false"), binding("Warn", "Audit"))
        return await api.ask("POST", MAPS, config_map())

    reply = on_api(use)
    assert reply.status == 201
    assert reply.headers["Warning"] == (
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false\""
    )


def test_errors_pass_where_the_policy_ignores_them() -> None:
    made = policy("object.x == 1", failurePolicy="Ignore")
    assert told(made, config_map()) == [(201, "")]
    both = policy("object.x == 1", "false", failurePolicy="Ignore")
    assert told(both, config_map()) == [(422, DENIED + "failed expression: false")]


def test_match_conditions() -> None:
    conditions = [
        {"name": "a", "expression": "object.metadata.name != 'skip'"},
        {"name": "b", "expression": "object.data.b == '1'"},
    ]
    made = policy("false", matchConditions=conditions)
    found = told(made, config_map("skip"), config_map(b="2"), config_map(b="1"), config_map(c="x"))
    assert [code for code, _ in found] == [201, 201, 422, 422]
    assert "expression 'object.data.b == '1'' resulted in error: no such key: b" in found[3][1]


def test_variables_are_worked_out_when_they_are_asked_for() -> None:
    variables = [
        {"name": "size", "expression": "object.data.size()"},
        {"name": "big", "expression": "variables.size > 1"},
        {"name": "bad", "expression": "object.nope"},
    ]
    made = policy("!variables.big || variables.bad == 1", variables=variables)
    found = told(made, config_map(a="1"), config_map(a="1", b="2"))
    assert found[0] == (201, "")
    assert 'composited variable "bad" fails to evaluate: no such key: nope' in found[1][1]


def test_request_and_namespace() -> None:
    shown = (
        "request.operation + ' ' + request.kind.kind + ' ' + request.resource.resource + ' ' + request.namespace"
        " + ' ' + request.userInfo.username + ' ' + namespaceObject.metadata.name + ' ' + namespaceObject.status.phase"
        " + ' ' + string(request.dryRun) + ' ' + string(oldObject == null)"
    )
    found = told(policy({"expression": "false", "messageExpression": shown}), config_map())
    assert found == [
        (
            422,
            DENIED
            + "CREATE ConfigMap configmaps default kubernetes-admin default Active true true",
        )
    ]


def test_updates_deletes_and_subresources() -> None:
    async def use(api: Api) -> list[int]:
        await api.ask("POST", MAPS, config_map(a="1"))
        fixed = {**RULE, "operations": ["UPDATE", "DELETE"]}
        validation = "request.operation == 'DELETE' ? oldObject.data.a == '2' : object.data == oldObject.data"  # fmt: skip
        await bound(api, policy(validation, rules=[fixed]))
        merge = {"content-type": "application/merge-patch+json"}
        path = f"{MAPS}/c"
        return [
            (await api.ask("PATCH", path, {"data": {"a": "2"}}, **merge)).status,
            (await api.ask("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, **merge)).status,
            (await api.ask("DELETE", path)).status,
            (await api.ask("GET", path)).status,
        ]

    assert on_api(use) == [422, 200, 422, 200]


def test_selectors_and_excluded_rules() -> None:
    labelled = binding(matchResources={"objectSelector": {"matchLabels": {"l": "1"}}})
    found = told(policy("false"), config_map(), config_map(labels={"l": "1"}), bind=labelled)
    assert [code for code, _ in found] == [201, 422]
    elsewhere = binding(matchResources={"namespaceSelector": {"matchLabels": {"env": "prod"}}})
    assert told(policy("false"), config_map(), bind=elsewhere) == [(201, "")]
    constraints = {
        "resourceRules": [RULE],
        "excludeResourceRules": [{**RULE, "resourceNames": ["skip"]}],
    }
    found = told(policy("false", matchConstraints=constraints), config_map(), config_map("skip"))
    assert [code for code, _ in found] == [422, 201]


def test_an_equivalent_version_is_judged_in_the_version_of_the_rule() -> None:
    rule = {
        "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "operations": ["*"],
        "resources": ["horizontalpodautoscalers"],
    }  # fmt: skip
    shown = "object.apiVersion + ' ' + request.resource.version + ' ' + request.requestResource.version"  # fmt: skip

    async def use(api: Api) -> Any:
        made = policy({"expression": "false", "messageExpression": shown}, rules=[rule])
        await bound(api, made)
        target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
        body = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 1, "scaleTargetRef": target}}
        path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
        return (await api.ask("POST", path, body)).json["message"]

    assert on_api(use).endswith("denied request: autoscaling/v1 v1 v2")


KIND = {"apiVersion": "v1", "kind": "ConfigMap"}


@pytest.mark.parametrize(
    ("ref", "codes"),
    [
        ({"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}, [201, 422]),
        ({"selector": {"matchLabels": {"p": "1"}}, "namespace": "default", "parameterNotFoundAction": "Deny"}, [201, 422]),
        ({"name": "limits", "parameterNotFoundAction": "Deny"}, [201, 422]),  # of the object's own namespace
        ({"name": "nope", "parameterNotFoundAction": "Allow"}, [201, 201]),
        ({"name": "nope", "parameterNotFoundAction": "Deny"}, [422, 422]),
    ],
)  # fmt: skip
def test_parameters(ref: Any, codes: list[int]) -> None:
    async def use(api: Api) -> list[int]:
        await api.ask("POST", MAPS, config_map("limits", {"p": "1"}, most="7"))
        await bound(api, policy("object.data.a == params.data.most", paramKind=KIND), binding(paramRef=ref))  # fmt: skip
        objects = (config_map(a="7"), config_map(a="8"))
        return [(await api.ask("POST", f"{MAPS}?dryRun=All", o)).status for o in objects]

    assert on_api(use) == codes


def test_a_parameter_of_an_unknown_kind_is_a_fault_of_the_policy() -> None:
    kind = {"apiVersion": "x.example.com/v1", "kind": "Nope"}
    ref = {"name": "x", "parameterNotFoundAction": "Deny"}
    ((code, says),) = told(
        policy("params == null", paramKind=kind), config_map(), bind=binding(paramRef=ref)
    )
    assert code == 422
    assert "failed to configure policy: failed to find resource referenced by paramKind" in says


def test_the_authorizer_asks_what_the_user_may_do() -> None:
    admin = "authorizer.group('').resource('pods').namespace('default').check('get').allowed()"
    other = "authorizer.serviceAccount('default', 'nobody').group('').resource('pods').check('get').allowed()"  # fmt: skip
    path = "authorizer.path('/healthz').check('get').allowed()"
    own = "authorizer.requestResource.check('create').allowed()"
    assert told(policy(admin, path, own), config_map()) == [(201, "")]
    assert told(policy(other), config_map())[0][0] == 422


def test_annotations_are_strings_or_nothing() -> None:
    notes = [{"key": "k", "valueExpression": "object.x"}]
    made = policy("true", auditAnnotations=[{"key": "k", "valueExpression": "'v'"}])
    assert told(made, config_map()) == [(201, "")]
    assert judge_policy(filled(policy("true", auditAnnotations=notes)))[0].message.endswith(
        "must evaluate to one of [string null_type] but got dyn"
    )


def test_an_expression_that_costs_too_much_is_ended() -> None:
    loop = "object.data.a.split('').all(a, object.data.a.split('').all(b, object.data.a.split('').all(c, a == b || true)))"  # fmt: skip
    ((code, says),) = told(policy(loop), config_map(a="x" * 300))
    assert code == 422
    assert says.endswith("resulted in error: operation cancelled: actual cost limit exceeded")


def test_policies_do_not_judge_policies() -> None:
    async def use(api: Api) -> int:
        every = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
        await bound(api, policy("false", rules=[every]))
        return (await api.ask("DELETE", f"{POLICIES}/p")).status

    assert on_api(use) == 200


def test_who_may_not_write_is_refused_before() -> None:
    async def use(api: Api) -> int:
        await bound(api, policy("false"))
        return (await api.ask("POST", MAPS, config_map(), Peer("127.0.0.1:3"))).status

    assert on_api(use) in (401, 403)


def test_the_status_is_filled_in() -> None:
    async def use(api: Api) -> Any:
        await api.ask("POST", POLICIES, policy("object.data.a == 1", "object.data.b == '1'"))
        async for event in api.client.watch(KINDS):
            if event.object.get("status"):
                return event.object["status"]

    status = on_api(use)
    assert status["observedGeneration"] == 1
    (warning,) = status["typeChecking"]["expressionWarnings"]
    assert warning["fieldRef"] == "spec.validations[0].expression"
    assert warning["warning"].startswith("/v1, Kind=ConfigMap: ERROR: <input>:1:15: found no")


# ---------------------------------------------------------------- as plain data


def filled(made: dict[str, Any]) -> dict[str, Any]:
    admission_policy(made)
    return made


@pytest.mark.parametrize(
    ("made", "field", "says"),
    [
        (policy("1"), "validations[0].expression", 'Invalid value: "1": must evaluate to bool but got int'),
        (policy("['a']"), "validations[0].expression", "must evaluate to bool but got list(string)"),
        (policy("object."), "validations[0].expression", "compilation failed: ERROR: <input>:1:8: Syntax error"),
        (policy("variables.x"), "validations[0].expression", "undeclared reference to 'variables'"),
        (policy("params.x == 1"), "validations[0].expression", "undeclared reference to 'params'"),
        (policy("request.foo == 1"), "validations[0].expression", "undefined field 'foo'"),
        (policy(" "), "validations[0].expression", "Required value: expression is not specified"),
        (policy({"expression": "true", "reason": "X"}), "validations[0].reason", 'Unsupported value: "X"'),
        (policy({"expression": "true", "messageExpression": "1"}), "validations[0].messageExpression", "must evaluate to string but got int"),
        (policy("true", variables=[{"name": "if", "expression": "1"}]), "variables[0].name", "must be a valid CEL identifier"),
        (policy("true", matchConditions=[{"name": "a", "expression": "variables.x"}]), "matchConditions[0].expression", "undeclared reference to 'variables'"),
        (policy("true", failurePolicy="X"), "failurePolicy", 'supported values: "Fail", "Ignore"'),
        (policy("true", matchConstraints={}), "matchConstraints.resourceRules", "Required value"),
        (policy("true", paramKind={"apiVersion": "a/b/c", "kind": "K"}), "paramKind.apiVersion", "unexpected GroupVersion string: a/b/c"),
    ],
)  # fmt: skip
def test_policies_that_are_refused(made: Any, field: str, says: str) -> None:
    (fault,) = judge_policy(filled(made))
    assert fault.field == f"spec.{field}"
    assert says in fault.message


def test_variables_are_typed_in_what_follows() -> None:
    variables = [
        {"name": "a", "expression": "[1, 2]"},
        {"name": "b", "expression": "variables.a[0] + 'x'"},
    ]
    (fault,) = judge_policy(filled(policy("true", variables=variables)))
    assert "found no matching overload for '_+_' applied to '(int, string)'" in fault.message


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"validationActions": []}, "validationActions", "Required value"),
        ({"validationActions": ["Deny", "Warn"]}, "validationActions", "must not contain both Deny and Warn"),
        ({"policyName": ""}, "policyName", "Required value"),
        ({"paramRef": {"parameterNotFoundAction": "Deny"}}, "paramRef", "one of name or selector must be specified"),
        ({"paramRef": {"name": "x"}}, "paramRef.parameterNotFoundAction", "Required value"),
    ],
)  # fmt: skip
def test_bindings_that_are_refused(spec: Any, field: str, says: str) -> None:
    made = binding(**spec)
    made["spec"] |= spec
    admission_binding(made)
    (fault,) = judge_binding(made)
    assert fault.field == f"spec.{field}"
    assert says in fault.message


def test_types_of_several_kinds() -> None:
    rule = {
        "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"],
        "resources": ["deployments", "daemonsets", "deployments/scale"],
    }  # fmt: skip
    (found,) = warnings(policy("object.spec.replicas > 1", rules=[rule])["spec"], Registry())
    assert found["fieldRef"] == "spec.validations[0].expression"
    assert found["warning"] == (
        "apps/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'\n"
        " | object.spec.replicas > 1\n | ...........^\n"
    )


# ---------------------------------------------------------------- that mutate

MUTATING, MUTATING_BINDINGS = f"{GROUP}/mutatingadmissionpolicies", f"{GROUP}/mutatingadmissionpolicybindings"  # fmt: skip


def apply(text: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}


def patch(text: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": text}}


def mutating(*mutations: Any, name: str = "m", rules: Any = None, **spec: Any) -> dict[str, Any]:
    rule = {**RULE, "operations": ["CREATE", "UPDATE"]}
    constraints = {"resourceRules": rules or [rule]}
    body = {
        "reinvocationPolicy": "Never", "matchConstraints": constraints, "mutations": list(mutations), **spec,
    }  # fmt: skip
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": body,
    }


async def install(api: Api, *made: dict[str, Any]) -> None:
    for body in made:
        name = body["metadata"]["name"]
        bind = {"metadata": {"name": name}, "spec": {"policyName": name}}
        for path, sent in ((MUTATING, body), (MUTATING_BINDINGS, bind)):
            reply = await api.ask("POST", path, sent)
            assert reply.status == 201, reply.body


def changed(obj: Any, *made: dict[str, Any], path: str = MAPS) -> Any:
    """The answer to one object that is created under policies."""

    async def use(api: Api) -> Any:
        await install(api, *made)
        return (await api.ask("POST", f"{path}?dryRun=All", obj)).json

    return on_api(use)


def test_an_apply_configuration_is_merged_in() -> None:
    labels = "Object{metadata: Object.metadata{labels: Object.metadata.labels{added: 'yes'}}}"
    found = changed(config_map(labels={"l": "m"}, x="y"), mutating(apply(labels)))
    assert found["metadata"]["labels"] == {"l": "m", "added": "yes"}
    assert found["data"] == {"x": "y"}


def test_lists_with_keys_are_merged_by_their_keys() -> None:
    containers = (
        "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: ["
        "Object.spec.template.spec.containers{name: 'c', image: 'z'},"
        "Object.spec.template.spec.containers{name: 'side', image: 's'}]}}}}"
    )
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}  # fmt: skip
    labels = {"matchLabels": {"a": "b"}}
    pod = {"containers": [{"name": "c", "image": "x", "env": [{"name": "E", "value": "1"}]}]}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod}
    obj = {"metadata": {"name": "d"}, "spec": {"selector": labels, "template": template}}
    path = "/apis/apps/v1/namespaces/default/deployments"
    found = changed(obj, mutating(apply(containers), rules=[rule]), path=path)
    one, other = found["spec"]["template"]["spec"]["containers"]
    assert (one["image"], one["env"]) == ("z", [{"name": "E", "value": "1"}])
    assert (other["name"], other["imagePullPolicy"]) == ("side", "Always")  # defaults come after


def test_json_patches_and_what_a_failed_test_means() -> None:
    text = (
        "[JSONPatch{op: 'test', path: '/data/x', value: 'y'},"
        " JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('k'), value: 'v'}]"
    )
    assert changed(config_map(x="y"), mutating(patch(text)))["data"] == {"x": "y", "k": "v"}
    assert changed(config_map(x="z"), mutating(patch(text)))["data"] == {"x": "z"}


def test_mutations_follow_each_other_and_variables_are_known() -> None:
    steps = (apply("Object{data: {'a': variables.v}}"), apply("Object{data: {'b': object.data.a}}"))
    variables = [{"name": "v", "expression": "object.data.x + '!'"}]
    made = mutating(*steps, variables=variables)
    assert changed(config_map(x="y"), made)["data"] == {"x": "y", "a": "y!", "b": "y!"}


def test_a_policy_sees_again_what_later_ones_changed_if_it_wants_to() -> None:
    count = apply("Object{data: {'n': string(object.data.size())}}")
    add = apply("Object{data: {'more': '1'}}")
    for again, wanted in (("Never", "1"), ("IfNeeded", "3")):
        first = mutating(count, name="a", reinvocationPolicy=again)
        found = changed(config_map(x="y"), first, mutating(add, name="b"))
        assert found["data"] == {"x": "y", "more": "1", "n": wanted}


def test_names_in_a_mutation_are_found_in_one_go() -> None:
    began = time.process_time()
    for text in ("r" * 300_000, "'" * 100_001, "a:" * 100_000, "Object.a" * 50_000):
        patching.mangled(text)
    assert time.process_time() - began < 2.5


@pytest.mark.parametrize(
    ("mutation", "says"),
    [
        (apply("Object{foo: 1}"), "failed to convert patch object to typed object: .foo: field not declared in schema"),
        (apply("Object{metadata: Object.spec{x: 1}}"), 'type mismatch: unexpected type name "Object.spec", expected "Object.metadata"'),
        (apply("Object{metadata: Object.metadata{ownerReferences: object.x}}"), "resulted in error: no such key: x"),
        (patch("[JSONPatch{op: 'remove', path: '/data/zz'}]"), "JSON Patch: error in remove for path: '/data/zz'"),
        (patch("[JSONPatch{op: 'remove', path: dyn(5)}]"), "JSON Patch: error in remove for path: '5'"),
        (patch("[JSONPatch{op: 'replace', path: '', value: [1]}]"), "the whole can only be replaced by an object"),
    ],
)  # fmt: skip
def test_mutations_that_do_not_fit(mutation: Any, says: str) -> None:
    found = changed(config_map(x="y"), mutating(mutation))
    assert (found["code"], found["reason"]) == (403, "Invalid")
    assert found["message"].startswith("policy 'm' with binding 'm' denied request: ")
    assert says in found["message"]
    ignored = changed(config_map(x="y"), mutating(mutation, failurePolicy="Ignore"))
    assert ignored["data"] == {"x": "y"}


def test_what_comes_out_is_judged_like_anything_else() -> None:
    wrong = "Object{metadata: Object.metadata{labels: {'a b': 'c'}}}"
    found = changed(config_map(x="y"), mutating(apply(wrong)))
    assert (found["code"], found["reason"]) == (422, "Invalid")


@pytest.mark.parametrize(
    ("mutation", "field", "says"),
    [
        (apply("{'a': 1}"), "applyConfiguration.expression", "must evaluate to Object but got map(string, int)"),
        (apply("Object.spec{x: 1}"), "applyConfiguration.expression", "must evaluate to Object but got Object.spec"),
        (apply("Object{spec: Object.spec{x: y}}"), "applyConfiguration.expression", "ERROR: <input>:1:29: undeclared reference to 'y'"),
        (patch("[1]"), "jsonPatch.expression", "must evaluate to list(JSONPatch) but got list(int)"),
        (patch("[JSONPatch{op: 1}]"), "jsonPatch.expression", "expected type of field 'op' is 'string'"),
        ({"patchType": "JSONPatch"}, "jsonPatch", "must be specified when patchType is JSONPatch"),
        ({"patchType": "X"}, "patchType", 'supported values: "ApplyConfiguration", "JSONPatch"'),
    ],
)  # fmt: skip
def test_mutating_policies_that_are_refused(mutation: Any, field: str, says: str) -> None:
    (fault,) = judge_mutating(filled(mutating(mutation)))
    assert fault.field == f"spec.mutations[0].{field}"
    assert says in fault.message
