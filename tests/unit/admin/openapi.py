"""Holds replies against the API's OpenAPI document: status, fields, media type, and the body's schema.

Knows the part of JSON Schema that the document uses and refuses the rest, so that nothing in it goes unlooked at.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_ANNOTATIONS = {"description", "examples", "default"}
_FORMATS = {"ipv4": ipaddress.IPv4Address, "ipv6": ipaddress.IPv6Address}


class Mismatch(AssertionError):
    """A reply is not what the document says, or the document says what is not understood."""


class Document:
    """An OpenAPI 3.1 document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    @property
    def operations(self) -> set[tuple[str, str]]:
        """(method, path) of each."""
        verbs = {"get", "put", "delete", "post", "patch"}
        return {(verb.upper(), path) for path, item in self.document["paths"].items() for verb in item if verb in verbs}

    def check_reply(self, method: str, path: str, status: int, headers: Mapping[str, str], body: Any) -> None:
        """Raises Mismatch. `body` is parsed JSON, None if there is none; `path` has no query."""
        where = f"{method} {path} {status}"
        operation = self._operation(method, path)
        if str(status) not in operation["responses"]:
            raise Mismatch(f"{where}: this status is not documented")
        response = self._resolved(operation["responses"][str(status)])
        for name in response.get("headers", {}):
            if name not in headers:
                raise Mismatch(f"{where}: the field {name} is missing")
        content = response.get("content")
        if content is None:
            if body is not None:
                raise Mismatch(f"{where}: a body where none is documented")
            return
        media_type = headers["Content-Type"].partition(";")[0]
        if media_type not in content:
            raise Mismatch(f"{where}: {media_type} is not documented")
        self.check(content[media_type]["schema"], body, where)

    def check(self, schema: Mapping[str, Any], value: Any, where: str = "value") -> None:
        """Raises Mismatch if `value` does not fit `schema`."""
        if "$ref" in schema:
            self.check(self._resolved(schema), value, where)
            return
        known = {name for name in dir(self) if name.startswith("_of_")}
        for keyword, wanted in schema.items():
            if keyword in _ANNOTATIONS or keyword == "additionalProperties":
                continue
            if f"_of_{keyword}" not in known:
                raise Mismatch(f"{where}: {keyword} is not understood")
            getattr(self, f"_of_{keyword}")(wanted, value, where)
        others = schema.get("additionalProperties")
        if others is not None and (more := value.keys() - schema.get("properties", {}).keys()):
            if others is False:
                raise Mismatch(f"{where}: {more} is not documented")
            for name in more:
                self.check(others, value[name], f"{where}.{name}")

    def _operation(self, method: str, path: str) -> Any:
        for template, item in self.document["paths"].items():
            if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path) and method.lower() in item:
                return item[method.lower()]
        raise Mismatch(f"{method} {path} is not documented")

    def _resolved(self, schema: Mapping[str, Any]) -> Any:
        if "$ref" not in schema:
            return schema
        found: Any = self.document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return found

    # --- keywords ------------------------------------------------------------------------------------------------

    def _of_type(self, wanted: str | list[str], value: Any, where: str) -> None:
        names = [wanted] if isinstance(wanted, str) else wanted
        fits = any(isinstance(value, _TYPES[name]) for name in names)
        if not fits or (isinstance(value, bool) and "boolean" not in names):
            raise Mismatch(f"{where}: {value!r} is not of type {wanted}")

    def _of_required(self, wanted: list[str], value: Any, where: str) -> None:
        if missing := set(wanted) - value.keys():
            raise Mismatch(f"{where}: {missing} is missing")

    def _of_properties(self, wanted: Mapping[str, Any], value: Any, where: str) -> None:
        for name, schema in wanted.items():
            if name in value:
                self.check(schema, value[name], f"{where}.{name}")

    def _of_items(self, wanted: Mapping[str, Any], value: Any, where: str) -> None:
        for number, item in enumerate(value):
            self.check(wanted, item, f"{where}[{number}]")

    def _of_allOf(self, wanted: list[Mapping[str, Any]], value: Any, where: str) -> None:
        for schema in wanted:
            self.check(schema, value, where)

    def _of_oneOf(self, wanted: list[Mapping[str, Any]], value: Any, where: str) -> None:
        fitting = 0
        for schema in wanted:
            with suppress(Mismatch):
                self.check(schema, value, where)
                fitting += 1
        self._hold(fitting == 1, f"{where}: {value!r} fits {fitting} of {len(wanted)} schemas")

    def _of_enum(self, wanted: list[Any], value: Any, where: str) -> None:
        self._hold(value in wanted, f"{where}: {value!r} is none of {wanted}")

    def _of_const(self, wanted: Any, value: Any, where: str) -> None:
        self._hold(value == wanted, f"{where}: {value!r} is not {wanted!r}")

    def _of_pattern(self, wanted: str, value: Any, where: str) -> None:
        self._hold(re.search(wanted, value) is not None, f"{where}: {value!r} does not match {wanted}")

    def _of_maxLength(self, wanted: int, value: Any, where: str) -> None:
        self._hold(len(value) <= wanted, f"{where}: longer than {wanted}")

    def _of_maxItems(self, wanted: int, value: Any, where: str) -> None:
        self._hold(len(value) <= wanted, f"{where}: more than {wanted}")

    def _of_minItems(self, wanted: int, value: Any, where: str) -> None:
        self._hold(len(value) >= wanted, f"{where}: fewer than {wanted}")

    def _of_maxProperties(self, wanted: int, value: Any, where: str) -> None:
        self._hold(len(value) <= wanted, f"{where}: more than {wanted}")

    def _of_minimum(self, wanted: float, value: Any, where: str) -> None:
        self._hold(value >= wanted, f"{where}: {value} is less than {wanted}")

    def _of_maximum(self, wanted: float, value: Any, where: str) -> None:
        self._hold(value is None or value <= wanted, f"{where}: {value} is more than {wanted}")

    def _of_exclusiveMinimum(self, wanted: float, value: Any, where: str) -> None:
        self._hold(value is None or value > wanted, f"{where}: {value} is not more than {wanted}")

    def _of_format(self, wanted: str, value: Any, where: str) -> None:
        if value is not None:
            try:
                _FORMATS[wanted](value)
            except ValueError:
                raise Mismatch(f"{where}: {value!r} is no {wanted}") from None

    @staticmethod
    def _hold(fits: bool, otherwise: str) -> None:
        if not fits:
            raise Mismatch(otherwise)
