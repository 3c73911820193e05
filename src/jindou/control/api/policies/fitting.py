"""Expressions of a policy, compiled against the type of one kind."""

from __future__ import annotations

from jindou.control.api.expressions.compiler import CompileError, Environment
from jindou.control.api.expressions.types import DYN, Schemas, Shape
from jindou.control.api.policies import variables as known
from jindou.control.api.resources.registry import Resource
from jindou.objects.kinds import Object


class Fitting:
    def __init__(self, spec: Object, resource: Resource, params: Resource | None) -> None:
        self._schemas = Schemas(open_objects=True)
        self._has_params = spec.get("paramKind") is not None
        self._shapes = {name: self._shape(resource) for name in ("object", "oldObject")}
        if params is not None:
            self._shapes["params"] = self._shape(params)
        variables: dict[str, Shape] = {}
        for variable in spec.get("variables") or ():
            try:
                program = self._environment(variables).compile(variable["expression"])
                variables[variable["name"]] = known.shape_of(program.result)
            except CompileError:
                variables[variable["name"]] = DYN
        self._whole = self._environment(variables)

    def _shape(self, resource: Resource) -> Shape:
        return self._schemas.shape(resource.schema) or DYN

    def _environment(self, variables: dict[str, Shape]) -> Environment:
        typed = {name: (self._schemas, shape) for name, shape in self._shapes.items()}
        return known.environment(variables, params=self._has_params, typed=typed)

    def complaint(self, text: str) -> str:
        """What the compiler says against an expression, or ""."""
        try:
            self._whole.compile(text)
        except CompileError as error:
            return str(error)
        return ""
