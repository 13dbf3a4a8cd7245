"""Validates printed plans against runtime/Plan/plan.schema.json.

Usage: check_schema.py PRINTER, from the root of the project. PRINTER prints
the plans, see PrintRandomPlans.cpp. Exits with 77 when it cannot run here.
"""

import copy
import json
import subprocess
import sys

try:
    import jsonschema
except ImportError:
    print("skipped: needs the Python module jsonschema "
          "(package python3-jsonschema)")
    sys.exit(77)

if not hasattr(jsonschema, "Draft202012Validator"):
    print("skipped: jsonschema is too old for draft 2020-12, needs 4.0")
    sys.exit(77)

PLANS = 40

# Keys that may be absent.
OPTIONAL = {"tied_to"}

# Edits after which the schema must still accept the tiny plan.
VALID = [
    (["stages", 0, "parameters", 0, "tied_to"], "head"),
    (["ranks", 0, "steps", 0, "role"], "labels_65"),
]

# Edits after which the tiny plan must be refused: path, new value.
REMOVED = object()
BROKEN = [
    (["format"], "other"),
    (["version"], 2),
    (["generator"], REMOVED),
    (["colour"], 1),
    (["memory_classes", 0], "weights"),
    (["model", "layers"], "1"),
    (["model", "total_parameters"], 2**53 + 1),
    (["layout", "expert"], 0),
    (["prediction", "bubble"], 1.5),
    (["stages", 0, "values", 0, "bytes"], 100),
    (["stages", 0, "values", 0, "class"], "parameters"),
    (["stages", 0, "values", 0, "shape"], []),
    (["stages", 0, "slots", 0], 10),
    (["stages", 0, "parameters", 0, "gradient_offset"], -2),
    (["stages", 0, "programs", 0, "ops", 0, "inputs", 0], -2),
    (["stages", 0, "programs", 0, "ops", 0, "attributes"], {"x": None}),
    (["stages", 0, "programs", 0, "ops", 0, "attributes"], {"x": [0.5]}),
    (["stages", 0, "programs", 0, "ops", 0, "live"], [0] * 9),
    (["ranks", 0, "peak"], {"colour": 1}),
    (["ranks", 0, "steps", 0, "kind"], "jump"),
    (["stages", 0, "parameters", 0, "tied_to"], ""),
    (["ranks", 0, "steps", 0, "role"], REMOVED),
    (["ranks", 0, "steps", 0, "role"], "labels_1"),
    (["ranks", 0, "steps", 0, "role"], "labels_66"),
    (["ranks", 0, "steps", 1, "value"], 0),
    (["ranks", 0, "steps", 0, "live", 0], -256),
]


def edited(plan, path, value):
    plan = copy.deepcopy(plan)
    place = plan
    for key in path[:-1]:
        place = place[key]
    if value is REMOVED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return plan


def check_closed(schema, place="$"):
    """Objects of the schema describe all their keys and allow no others."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            check_closed(item, f"{place}[{index}]")
    if not isinstance(schema, dict):
        return
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        assert schema["additionalProperties"] is False, place
        optional = set(schema["properties"]) - set(schema["required"])
        assert optional <= OPTIONAL, place
    for key, item in schema.items():
        check_closed(item, f"{place}.{key}")


def main():
    with open("runtime/Plan/plan.schema.json", encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    check_closed(schema)
    validator = jsonschema.Draft202012Validator(schema)

    with open("test/data/plans/tiny.json", encoding="utf-8") as file:
        tiny = json.load(file)
    validator.validate(tiny)
    for path, value in VALID:
        validator.validate(edited(tiny, path, value))
    for path, value in BROKEN:
        if validator.is_valid(edited(tiny, path, value)):
            sys.exit(f"the schema accepts {path} = {value!r}")

    printed = subprocess.run([sys.argv[1], str(PLANS)], check=True,
                             stdout=subprocess.PIPE).stdout
    plans = printed.split(b"\0")[:-1]
    assert len(plans) == PLANS
    for number, text in enumerate(plans):
        errors = sorted(validator.iter_errors(json.loads(text)), key=str)
        if errors:
            sys.exit(f"plan {number}: {errors[0].json_path}: "
                     f"{errors[0].message}")
    print(f"{PLANS + 1} plans are valid, {len(BROKEN)} broken ones are not")


if __name__ == "__main__":
    main()
