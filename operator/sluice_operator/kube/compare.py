"""Whether an object in the cluster says everything that a manifest wants.

So that an object that is as wanted is not written again. It goes by the rules of server-side apply: fields that the
manifest does not have are others' business, items of named lists are matched by name, and an empty value is none.
Invariant: false only where applying the manifest would change something, quantities that look different included.
"""

import re
from decimal import Decimal
from typing import Any

_QUANTITY = re.compile(r"([+-]?\d+(?:\.\d+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_UNITS = {None: Decimal(1), "m": Decimal("0.001")}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def holds(current: Any, wanted: Any) -> bool:
    """Whether `current` has all that `wanted` has."""
    if wanted in (None, {}, [], ""):
        return current in (None, {}, [], "")
    if isinstance(wanted, dict):
        return isinstance(current, dict) and all(
            holds(current.get(name), value) or _missing_default(current, name, value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(current, list) and _holds_list(current, wanted)
    return bool(current == wanted) or _same_quantity(current, wanted)


def _missing_default(current: dict[str, Any], name: str, value: Any) -> bool:
    """The API leaves out what is false or zero by default."""
    return name not in current and (value is False or value == 0)


def _holds_list(current: list[Any], wanted: list[Any]) -> bool:
    if all(isinstance(item, dict) and "name" in item for item in [*current, *wanted]):
        by_name = {item["name"]: item for item in current}
        return all(holds(by_name.get(item["name"]), item) for item in wanted)
    return len(current) == len(wanted) and all(holds(one, other) for one, other in zip(current, wanted, strict=True))


def _same_quantity(current: Any, wanted: Any) -> bool:
    one, other = _quantity(current), _quantity(wanted)
    return one is not None and one == other


def _quantity(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    return None if match is None else Decimal(match[1]) * _UNITS[match[2]]
