"""A stand-in for Terraform's AWS provider: enough of it to validate, plan and apply on one machine.

It talks Terraform's plugin protocol, so the real Terraform checks names, types and required blocks,
computes plans and keeps a state; but nothing is created, and no rule of AWS is known here. The
schema in ``aws_schema.json`` is ours: a table of the resources that ``deploy/terraform`` uses, with
the attributes' names and types as release 6.62 of the provider has them. What only AWS refuses,
such as a wrong enum value, passes.

The package `tf` brings the protocol. Run as a program, this module is the provider.
"""

from __future__ import annotations

import json
import uuid
from importlib import import_module
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).with_name("aws_schema.json")
ACCOUNT = "000000000000"

# Imported by name, so that the types of a package that only this module needs are nobody's business.
pb = import_module("tf.gen.tfplugin_pb2")
codec = import_module("tf.provider")
schemas = import_module("tf.schema")
types = import_module("tf.types")
diagnostics = import_module("tf.utils")
runner = import_module("tf.runner")


def type_named(name: str) -> Any:
    """``set(string)`` and the like."""
    outer, _, inner = name.rstrip(")").partition("(")
    if inner:
        return {"list": types.List, "set": types.Set, "map": types.Map}[outer](type_named(inner))
    return {"string": types.String, "number": types.Number, "bool": types.Bool}[outer]()


def attributes(block: dict[str, Any]) -> list[Any]:
    found = []
    for name, words in block["attributes"].items():
        kind, *flags = words.split()
        found.append(schemas.Attribute(name, type_named(kind), **dict.fromkeys(flags, True)))
    return found


class Nested:
    """A block in a block, of which there are several (the library knows sets alone)."""

    def __init__(self, type_name: str, block: dict[str, Any]) -> None:
        self.type_name = type_name
        self._attributes = attributes(block)
        self._blocks = nested(block)
        self._shape = block

    def to_pb(self) -> Any:
        mode = pb.Schema.NestedBlock.NestingMode
        return pb.Schema.NestedBlock(
            type_name=self.type_name,
            block=schemas.Block(attributes=self._attributes, block_types=self._blocks).to_pb(),
            min_items=self._shape.get("min", 0),
            max_items=self._shape.get("max", 0),
            nesting=mode.SET if self._shape["nesting"] == "set" else mode.LIST,
        )

    def _parts(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {one.name: one for one in self._attributes}, {one.type_name: one for one in self._blocks}

    def encode(self, value: Any) -> Any:
        return [codec._encode_state_d(*self._parts(), one, None) for one in value]

    def decode(self, value: Any) -> Any:
        return [codec._decode_state(diagnostics.Diagnostics(), *self._parts(), one)[1] for one in value]

    def semantically_equal(self, one: Any, other: Any) -> bool:
        return bool(one == other)


def nested(block: dict[str, Any]) -> list[Nested]:
    return [Nested(name, inner) for name, inner in block.get("blocks", {}).items()]


class Resource:
    """Any resource: what was asked for, with whatever AWS would have made up filled in."""

    kind = ""
    shape: dict[str, Any] = {}  # noqa: RUF012  # each subclass has its own

    def __init__(self, provider: object) -> None:
        """The library passes its provider."""

    @classmethod
    def get_name(cls) -> str:
        return cls.kind

    @classmethod
    def get_schema(cls) -> Any:
        return schemas.Schema(attributes=attributes(cls.shape), block_types=nested(cls.shape), version=1)

    def validate(self, diags: Any, type_name: str, config: dict[str, Any]) -> None:
        """Terraform itself has compared it with the schema."""

    def plan(self, context: Any, current: dict[str, Any] | None, planned: dict[str, Any]) -> dict[str, Any]:
        return planned

    def create(self, context: Any, planned: dict[str, Any]) -> dict[str, Any]:
        return {name: self._made_up(name) if value is types.Unknown else value for name, value in planned.items()}

    def read(self, context: Any, current: dict[str, Any]) -> dict[str, Any]:
        return current

    def update(self, context: Any, current: dict[str, Any], planned: dict[str, Any]) -> dict[str, Any]:
        return self.create(context, planned)

    def delete(self, context: Any, current: dict[str, Any]) -> None:
        """There is nothing to delete."""

    def _made_up(self, name: str) -> Any:
        kind = self.shape["attributes"][name].split()[0]
        if "(" in kind:
            return {} if kind.startswith("map") else []
        if kind != "string":
            return {"number": 0, "bool": False}[kind]
        label = f"{self.kind}-{uuid.uuid4().hex[:8]}"
        return (
            f"arn:aws:stub:eu-central-1:{ACCOUNT}:{label}" if name == "arn" else f"{name}-of-{label}".replace("_", "-")
        )


class Provider:
    """All resources of the schema, and a provider block that takes a region."""

    def get_model_prefix(self) -> str:
        return "aws_"

    def full_name(self) -> str:
        return "registry.terraform.io/hashicorp/aws"

    def get_provider_schema(self, diags: Any) -> Any:
        return schemas.Schema(attributes=[schemas.Attribute("region", types.String(), optional=True)], version=1)

    def validate_config(self, diags: Any, config: dict[str, Any]) -> None:
        """Any region is good."""

    def configure_provider(self, diags: Any, config: dict[str, Any]) -> None:
        """There is nobody to connect to."""

    def get_data_sources(self) -> list[type]:
        return []

    def get_functions(self) -> list[type]:
        return []

    def get_resources(self) -> list[type]:
        shapes = json.loads(SCHEMA.read_text(encoding="utf-8"))
        kinds = {name.removeprefix("aws_"): shape for name, shape in shapes.items()}
        return [type(kind, (Resource,), {"kind": kind, "shape": shape}) for kind, shape in kinds.items()]

    def new_resource(self, kind: type[Resource]) -> Resource:
        return kind(self)


if __name__ == "__main__":
    runner.run_provider(Provider())
