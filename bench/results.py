"""How a run's figures are written down: as JSON in which a round is one line, so that a person can read a diff."""

import json


def text(result):
    return spread(result, "") + "\n"


def spread(value, indent):
    """An object has a line for each of its names; a list of objects has a line for each of them."""
    inner = indent + " "
    if isinstance(value, dict) and value:
        return braced("{}", [f"{json.dumps(name)}: {spread(one, inner)}" for name, one in value.items()], indent)
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return braced("[]", [json.dumps(one) for one in value], indent)
    return json.dumps(value)


def braced(braces, lines, indent):
    inner = f"\n{indent} "
    return braces[0] + inner + f",{inner}".join(lines) + f"\n{indent}" + braces[1]
