"""python -m unittest schemagen.files_test, in hfconfig/"""
import pathlib
import tempfile
import unittest

from .files import merged, write

OLD = """generated "x"

model a prefix p

config
  n = 1
  by hand:
    m = 2

block body
  x norm [n]

class A as base
  use body
  by hand:
    for i < m:
      y.{i} norm [n]

model b

class A
  by hand:
    z norm [1]
"""
NEW = """generated "x"

model a prefix p

config
  n = 3

block body
  x norm [n]

class A as base, causal
  use body
  w norm [n]
"""


class Merged(unittest.TestCase):
    def test_lines_by_hand_stay_in_their_parts(self) -> None:
        text = merged(NEW, OLD)
        self.assertIn("  n = 3\n  by hand:\n    m = 2\n\nblock body", text)
        self.assertIn("  w norm [n]\n  by hand:\n    for i < m:\n      y.{i} norm [n]\n", text)
        self.assertNotIn("n = 1", text)

    def test_a_part_that_is_no_longer_generated_keeps_them(self) -> None:
        self.assertTrue(merged(NEW, OLD).endswith("class A\n  by hand:\n    z norm [1]\n"))

    def test_again_changes_nothing(self) -> None:
        once = merged(NEW, OLD)
        self.assertEqual(merged(NEW, once), once)
        self.assertEqual(merged(NEW, NEW), NEW)

    def test_files(self) -> None:
        with tempfile.TemporaryDirectory() as d:
            root = pathlib.Path(d)
            (root / "old.arch").write_text('generated "x"\n\nmodel o\n')
            (root / "hand.arch").write_text("model h\n")
            (root / "a.arch").write_text(OLD)
            write({"a.arch": NEW, "hand.arch": NEW}, root, True)
            self.assertEqual(sorted(p.name for p in root.iterdir()), ["a.arch", "hand.arch"])
            self.assertEqual((root / "hand.arch").read_text(), "model h\n")
            self.assertIn("by hand:", (root / "a.arch").read_text())


if __name__ == "__main__":
    unittest.main()
