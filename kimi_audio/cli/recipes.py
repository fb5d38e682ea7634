"""Recipes: functions that return one typed configuration, and changes to its fields from the command line."""

import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

HOMES = ("kimi_audio.recipes.finetune", "kimi_audio.recipes.seven_tasks")


def find_recipe(name: str) -> Callable[[], Any]:
    """Return the function of a name in the recipes of fine-tuning or pre-training, or of ``FILE.py:NAME``.

    Raises:
        ValueError: there is none.
    """
    file, _, function = name.rpartition(":")
    modules = [_module_of(Path(file))] if file else [importlib.import_module(home) for home in HOMES]
    recipes = {name: recipe for module in modules for name, recipe in _recipes(module).items()}
    if function not in recipes:
        raise ValueError(f"there is no recipe {name!r}; there are {', '.join(recipes)}, or give FILE.py:NAME")
    return recipes[function]


def _module_of(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _recipes(module: ModuleType) -> dict[str, Callable[[], Any]]:
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
    }


# ---------------------------------------------------------------------------------------------------------------------
# Changes


def with_changes(config: Any, changes: list[str]) -> Any:
    """Return a configuration with fields replaced.

    Args:
        config: a dataclass, possibly with dataclasses in it.
        changes: ``name=value`` or ``part.name=value``; values as in JSON, and words may stand without quotation marks.

    Raises:
        ValueError: there is no such field, or the value is not of its type.
    """
    for change in changes:
        name, sign, value = change.partition("=")
        if not sign:
            raise ValueError(f"{change!r} is not a change; write it as name=value")
        config = _changed(config, name.strip().split("."), value.strip(), name.strip())
    return config


def _changed(config: Any, path: list[str], value: str, whole_name: str) -> Any:
    hints = get_type_hints(type(config))
    if path[0] not in hints:
        raise ValueError(f"there is no field {whole_name}; {_describe(config)}")
    hint = hints[path[0]]
    if len(path) == 1:
        return replace(config, **{path[0]: _parsed(value, hint, whole_name)})
    part = getattr(config, path[0])
    if part is None:  # an optional part comes into being with its defaults
        part = next((kind() for kind in get_args(hint) if isinstance(kind, type) and is_dataclass(kind)), None)
    if not is_dataclass(part):
        raise ValueError(f"{path[0]} has no fields of its own; {_describe(config)}")
    return replace(config, **{path[0]: _changed(part, path[1:], value, whole_name)})


def _describe(config: Any) -> str:
    return f"the fields of {type(config).__name__} are {', '.join(field.name for field in fields(config))}"


def _parsed(text: str, hint: Any, name: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = {"None": None, "True": True, "False": False}.get(text, text)
    for candidate in (value, text):  # a string that looks like a number may be meant
        fitting = _fitting(candidate, hint)
        if fitting is not _NOTHING:
            return fitting
    raise ValueError(f"{name} must be {_named(hint)}, not {text}")


_NOTHING = object()


def _fitting(value: Any, hint: Any) -> Any:
    """Return the value as the type wants it, or ``_NOTHING``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return next((found for kind in arguments if (found := _fitting(value, kind)) is not _NOTHING), _NOTHING)
    if origin is Literal:
        return value if value in arguments else _NOTHING
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is ... else list(arguments)
        found = [_fitting(item, kind) for item, kind in zip(value, kinds, strict=False)]
        return tuple(found) if len(value) == len(kinds) and _NOTHING not in found else _NOTHING
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        found = {key: _fitting(item, arguments[1]) for key, item in value.items()}
        return _NOTHING if _NOTHING in found.values() else found
    if hint in (None, NoneType):
        return None if value is None else _NOTHING
    if hint is float and type(value) is int:
        return float(value)
    return value if type(value) is hint else _NOTHING


def _named(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
