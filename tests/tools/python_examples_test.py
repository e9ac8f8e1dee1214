#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python examples as programs: what the guide shows of the C++ ones is what these print, too.

usage: python_examples_test.py ROOT LIBRARY MODEL   ROOT: decant's source tree; MODEL: the bundled one
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT, LIBRARY, MODEL = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
EXAMPLES = ROOT / "tools" / "examples" / "python"


def run(name, folder, model=MODEL, stdin=""):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools" / "python"), "DECANT_LIBRARY": str(LIBRARY)}
    return subprocess.run(
        [sys.executable, "-B", EXAMPLES / f"{name}.py", model],
        cwd=folder, env=environment, input=stdin, capture_output=True, text=True, encoding="utf-8", timeout=300,
    )  # fmt: skip


def shown():
    """What the guide's pages show: outputs, and inputs, by the example's name."""
    outputs, inputs = {}, {}
    for page in (ROOT / "tools" / "guide").glob("*.md"):
        for name, part, text in re.findall(r"^```text (\w+)\.cpp( input)?\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            (inputs if part else outputs)[name] = text
    return outputs, inputs


class Examples(unittest.TestCase):
    def test_they_print_what_the_guide_shows(self):
        outputs, inputs = shown()
        names = {path.stem for path in EXAMPLES.glob("*.py")} & set(outputs)
        self.assertGreaterEqual(len(names), 5)
        for name in sorted(names):
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                runs = [run(name, folder, stdin=inputs.get(name, "")) for _ in range(2 if name == "save_resume" else 1)]
                self.assertEqual([(done.returncode, done.stderr) for done in runs], [(0, "")] * len(runs))
                self.assertEqual("".join(done.stdout for done in runs).rstrip("\n"), outputs[name].rstrip("\n"))

    def test_the_others_end_well(self):
        for path in sorted(EXAMPLES.glob("*.py")):
            if path.stem not in shown()[0]:
                with self.subTest(path.stem), tempfile.TemporaryDirectory() as folder:
                    done = run(path.stem, folder)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertIn("Hannibal", done.stdout)

    def test_an_error_is_a_message_and_a_status(self):
        for path in sorted(EXAMPLES.glob("*.py")):
            with self.subTest(path.stem), tempfile.TemporaryDirectory() as folder:
                done = run(path.stem, folder, model="nowhere.gguf", stdin="A king.\n")
                self.assertEqual((done.returncode, done.stderr), (1, "nowhere.gguf: No such file or directory\n"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
