"""Opens reports in a headless browser: the page's script must come to its end
without an error, and the charts must have been painted, light and dark, from
the whole step down to single ops."""

import argparse
import html.parser
import json
import os
import shutil
import subprocess
import sys
import tempfile

import png

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SKIPPED = 77
# The palette of report.js.
FORWARD, BACKWARD, EXCHANGE = (0, 114, 178), (0, 158, 115), (213, 94, 0)
COPY_ARROW = (194, 24, 91)
GROUND = {"light": (255, 255, 255), "dark": (20, 23, 26)}


class FirstTag(html.parser.HTMLParser):
    """The attributes of the first element."""

    attributes = None

    def handle_starttag(self, tag, attributes):
        if self.attributes is None:
            self.attributes = dict(attributes)


class Browser:
    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def run(self, *options):
        command = [
            self.program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--no-first-run", f"--user-data-dir={self.folder}/profile",
            "--virtual-time-budget=10000", "--window-size=1400,1000", *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{self.program} failed: {done.stderr}"
        return done.stdout

    def attributes(self, page):
        """What the page says of itself when its script has run."""
        parser = FirstTag()
        parser.feed(self.run("--dump-dom", f"file://{page}"))
        return parser.attributes

    def colors(self, page, place="", scheme="light"):
        """How many pixels there are of each colour."""
        picture = os.path.join(self.folder, "page.png")
        self.run(
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            f"--screenshot={picture}", f"file://{page}{place}",
        )
        counts = {}
        for row in png.read_rows(picture):
            for pixel in row:
                counts[pixel] = counts.get(pixel, 0) + 1
        return counts


REDUCED = (
    "layers=4,hidden=128,heads=4,kv_heads=2,head_dim=32,experts=8,top_k=2,"
    "moe_intermediate=64,vocabulary=256"
)


def plan(tools, models, folder, schedule, ranks, *options):
    """The report of a reduced model's plan."""
    base = os.path.join(folder, schedule + "".join(options))
    subprocess.run(
        [
            f"{tools}/moe-plan", "--model", f"{models}/qwen3-30b-a3b.json",
            "--reduce", REDUCED, "--layout", f"pp={ranks},ep=2",
            "--microbatches", "16", "--seq", "64", "--schedule", schedule, "-q", "-o", f"{base}.json",
            *options,
        ],
        check=True,
    )
    subprocess.run(
        [f"{tools}/moe-plan", "simulate", f"{base}.json", "--report", f"{base}.html"],
        check=True, stdout=subprocess.DEVNULL,
    )
    return f"{base}.html"


def check(browser, page, ranks):
    said = browser.attributes(page)
    assert "data-error" not in said, f"the page's script failed: {said['data-error']}"
    assert said.get("data-ready") == "true", f"the page did not come to its end: {said}"
    assert said["data-ranks"] == str(ranks), said
    for scheme in GROUND:
        seen = browser.colors(page, "", scheme)
        # With more lanes there is more of the charts' ground than of the page's.
        most = sorted(seen, key=seen.get)[-2:]
        assert GROUND[scheme] in most, f"{scheme}: most pixels are {most}"
        for color in (FORWARD, BACKWARD):
            assert seen.get(color, 0) > 2000, f"{scheme}: colour {color} is missing"
    # Zoomed in on the first steps, exchanges show as ops of their own.
    near = browser.colors(page, "#rank=0&from=0&to=2000000&critical=1")
    assert near.get(EXCHANGE, 0) > 200, "no exchange was drawn"
    return said, near


def copies_back(path):
    """How many copies from the host the steps of a plan run."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    in_program = {}
    for stage, entry in enumerate(document["stages"]):
        for program in entry["programs"]:
            in_program[stage, program["phase"]] = sum(
                op["stream"] == "copy_in" for op in program["ops"]
            )
    count = 0
    for rank in document["ranks"]:
        for step in rank["steps"]:
            runs = []
            if step["kind"] == "run":
                runs = [step]
            elif step["kind"] == "overlap":
                runs = rank["overlaps"][step["overlap"]]["members"]
            count += sum(in_program[run["stage"], run["phase"]] for run in runs)
    return count


def check_copies(browser, page, ranks):
    """Every copy from the host is joined to its copy out by an arrow."""
    said, near = check(browser, page, ranks)
    expected = copies_back(page.replace(".html", ".json"))
    assert expected > 0
    assert said["data-copies"] == str(expected), (said, expected)
    assert near.get(COPY_ARROW, 0) > 20, "no arrow was drawn between copies"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", required=True)
    parser.add_argument("--models", required=True)
    arguments = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        print(f"skipped: none of {', '.join(BROWSERS)} is installed")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(program, folder)
        for schedule, ranks in (("1f1b", 2), ("dualpipe-v", 2)):
            page = plan(arguments.tools, arguments.models, folder, schedule, ranks)
            said, near = check(browser, page, ranks)
            assert "data-copies" not in said and COPY_ARROW not in near, said
        for schedule in ("1f1b", "dualpipe-v"):
            page = plan(arguments.tools, arguments.models, folder, schedule, 2,
                        "--offload", "expert_fc1")
            check_copies(browser, page, 2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
