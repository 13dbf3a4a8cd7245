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
OPTIONAL = {"tied_to", "overwrites"}

# Edits after which the schema must still accept the tiny plan.
VALID = [
    (["stages", 0, "parameters", 0, "tied_to"], "head"),
    (["stages", 0, "values", 1, "overwrites"], 0),
    (["ranks", 0, "steps", 0, "role"], "labels_65"),
    (["decisions"], [{"stage": 0, "value": 0, "action": "keep", "bytes": -256,
                      "time_ns": 0, "reason": ""}]),
]

# Edits after which the tiny plan must be refused: path, new value.
REMOVED = object()
BROKEN = [
    (["format"], "other"),
    (["version"], 1),
    (["schedule"], ""),
    (["generator"], REMOVED),
    (["colour"], 1),
    (["memory_classes", 0], "weights"),
    (["decisions"], REMOVED),
    (["decisions"], [{"stage": 0, "value": 0, "action": "drop", "bytes": 0,
                      "time_ns": 0, "reason": ""}]),
    (["decisions"], [{"stage": 0, "value": 0, "action": "keep", "bytes": 0,
                      "time_ns": -1, "reason": ""}]),
    (["decisions"], [{"stage": 0, "value": 0, "action": "keep", "bytes": 0,
                      "time_ns": 0}]),
    (["model", "layers"], "1"),
    (["model", "total_parameters"], 2**53 + 1),
    (["layout", "expert"], 0),
    (["prediction", "bubble"], 1.5),
    (["stages", 0, "values", 0, "bytes"], 100),
    (["stages", 0, "values", 0, "class"], "parameters"),
    (["stages", 0, "values", 0, "shape"], []),
    (["stages", 0, "values", 1, "overwrites"], -1),
    (["stages", 0, "slots", 0], 10),
    (["stages", 0, "parameters", 0, "gradient_offset"], -2),
    (["stages", 0, "programs", 0, "ops", 0, "inputs", 0], -2),
    (["stages", 0, "programs", 0, "ops", 0, "attributes"], {"x": None}),
    (["stages", 0, "programs", 0, "ops", 0, "attributes"], {"x": [0.5]}),
    (["stages", 0, "programs", 0, "ops", 0, "live"], [0] * 10),
    (["ranks", 0, "peak"], {"colour": 1}),
    (["ranks", 0, "steps", 0, "kind"], "jump"),
    (["stages", 0, "parameters", 0, "tied_to"], ""),
    (["ranks", 0, "steps", 0, "role"], REMOVED),
    (["ranks", 0, "steps", 0, "role"], "labels_1"),
    (["ranks", 0, "steps", 0, "role"], "labels_66"),
    (["ranks", 0, "steps", 1, "value"], 0),
    (["ranks", 0, "steps", 0, "live", 0], -256),
]


# The same for the plan with an overlap.
OVERLAP = ["ranks", 0, "overlaps", 0]
BROKEN_OVERLAP = [
    (["machine", "flops_per_second"], -1),
    (["machine", "link_latency_ns"], 0.5),
    (["prediction", "model_flops_utilization"], "high"),
    (["stages", 0, "programs", 0, "ops", 1, "waits"], REMOVED),
    (["stages", 0, "programs", 0, "ops", 1, "waits"], [-1]),
    (["stages", 0, "programs", 0, "ops", 1, "waits"], [0, 0]),
    (["stages", 0, "programs", 1, "phase"], "sideways"),
    (["ranks", 0, "overlaps"], REMOVED),
    (["ranks", 0, "update_ns"], -1),
    (["ranks", 0, "exposed_communication_ns"], REMOVED),
    (OVERLAP + ["members", 1], REMOVED),
    (OVERLAP + ["members", 1, "phase"], "forward"),
    (OVERLAP + ["members", 1, "colour"], 1),
    (OVERLAP + ["order", 0], 2),
    (OVERLAP + ["order", 0], "forward"),
    (OVERLAP + ["waits", 0, "on"], REMOVED),
    (OVERLAP + ["waits", 0, "on"], -1),
    (OVERLAP + ["waits", 0, "op"], 0),
    (OVERLAP + ["live", 0], [0] * 12),
    (OVERLAP + ["colour"], 1),
    (["ranks", 0, "steps", 6, "overlap"], -1),
    (["ranks", 0, "steps", 6, "second_slot"], -2),
    (["ranks", 0, "steps", 6, "second_microbatch"], REMOVED),
    (["ranks", 0, "steps", 6, "kind"], "run"),
    (["ranks", 0, "steps", 8, "overlap"], 0),
    (["ranks", 0, "steps", 0, "phase"], "weight_grad"),
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


def read_plan(name):
    with open(f"test/data/plans/{name}.json", encoding="utf-8") as file:
        return json.load(file)


def main():
    with open("runtime/Plan/plan.schema.json", encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft202012Validator.check_schema(schema)
    check_closed(schema)
    validator = jsonschema.Draft202012Validator(schema)

    tiny, overlap = (read_plan(name) for name in ("tiny", "overlap"))
    for path, value in VALID:
        validator.validate(edited(tiny, path, value))
    for plan, edits in (tiny, BROKEN), (overlap, BROKEN_OVERLAP):
        validator.validate(plan)
        for path, value in edits:
            if validator.is_valid(edited(plan, path, value)):
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
    print(f"{PLANS + 2} plans are valid, "
          f"{len(BROKEN) + len(BROKEN_OVERLAP)} broken ones are not")


if __name__ == "__main__":
    main()
