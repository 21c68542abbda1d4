"""The package of the same name that the field knows, installed beside this one: the same program
against both."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import MeshTest

#: Its name and version on PyPI.
ORIGINAL = "slm-mesh==1.2.3"
SCRIPT = Path(__file__).with_name("original_script.py")
OURS = Path(__file__).parents[1] / "src"


def install(into: str) -> str | None:
    """Why it cannot be had here, if it cannot."""
    words = ["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    ran = subprocess.run(
        [sys.executable, *words, "--target", into, ORIGINAL], capture_output=True, text=True
    )
    return None if ran.returncode == 0 else ran.stderr.strip().splitlines()[-1]


class SamePrograms(MeshTest):
    def run_with(self, package: Path) -> list[str]:
        """What the program prints with the package in this directory and a new mesh."""
        self.mesh.kill()
        for file in self.mesh.dir.glob("mesh.db*"):
            file.unlink()
        self.mesh.start()
        port = (self.mesh.dir / "port").read_text().strip()
        locked = os.path.realpath(self.mesh.root / "file.py")
        ran = subprocess.run(
            [sys.executable, "-s", str(SCRIPT), port, locked],
            env={**self.mesh.environment(), "PYTHONPATH": str(package)},
            cwd=self.mesh.root,
            capture_output=True,
            text=True,
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return ran.stdout.splitlines()

    def test_a_program_of_the_original_runs(self) -> None:
        lines = self.run_with(OURS)
        self.assertGreater(len(lines), 20)
        self.assertIn("send str", " ".join(lines))

    def test_both_packages_give_the_same(self) -> None:
        with tempfile.TemporaryDirectory() as original:
            trouble = install(original)
            if trouble:
                self.skipTest(f"NOT TESTED: {ORIGINAL} cannot be installed here: {trouble}")
            theirs = self.run_with(Path(original))
        self.maxDiff = None
        self.assertEqual(self.run_with(OURS), theirs)


if __name__ == "__main__":
    unittest.main()
