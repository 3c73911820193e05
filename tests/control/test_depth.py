"""What is too deep to be written out is the client's fault; what can't be written at all is ours."""

from __future__ import annotations

from typing import Any

import pytest

from jindou.control.api import depth
from jindou.objects.errors import BadRequest
from tests.control.apis import on_api


def nested(levels: int) -> Any:
    held: Any = {}
    for _ in range(levels):
        held = {"a": held}
    return held


def test_what_is_too_deep_is_a_bad_request():
    assert depth.dumps(nested(200)).startswith(b'{"a":')
    with pytest.raises(BadRequest, match="the object is nested too deeply"):
        depth.dumps(nested(300))


def test_what_is_no_json_is_an_error_of_ours():
    with pytest.raises(TypeError):
        depth.dumps({"a": object()})


def test_a_patch_that_goes_too_deep_is_refused():
    async def scenario(api):
        url = "/apis/apps/v1/namespaces/default/controllerrevisions"
        made = {"metadata": {"name": "a"}, "revision": 1, "data": nested(150)}
        assert (await api.ask("POST", url, made)).status == 201
        deeper = [{"op": "copy", "from": "/data", "path": "/data" + "/a" * 150}]
        kind = "application/json-patch+json"
        answer = await api.ask("PATCH", f"{url}/a", deeper, content_type=kind)
        assert (answer.status, answer.json["message"]) == (400, "the object is nested too deeply")

    on_api(scenario)
