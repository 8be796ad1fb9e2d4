#!/usr/bin/env python3
"""pickles.py FILE : writes pickles of all protocols and what is in them, as gzipped JSON
lines {"name", "protocol", "pickle" (hex), "want"}. `want` is the value in the
notation of canon, which decode_test.go writes too. Made with CPython 3.11."""
import argparse, collections, datetime, fractions, gzip, io, json, pathlib, pickle, pickletools, struct, sys, types


def canon(v, open=()):
    if id(v) in open: return "@"
    inside = open + (id(v),)
    t = type(v)
    if v is None: return "None"
    if t is bool: return str(v)
    if t is int: return str(v)
    if t is float: return "f" + struct.pack(">d", v).hex()
    if t is str: return "s" + json.dumps(v, ensure_ascii=True)
    if t in (bytes, bytearray): return "b" + v.hex()
    if t is list: return "[" + " ".join(canon(x, inside) for x in v) + "]"
    if t is tuple: return "(" + " ".join(canon(x, inside) for x in v) + ")"
    if t in (set, frozenset): return "{" + " ".join(sorted(canon(x, inside) for x in v)) + "}"
    if isinstance(v, dict): return "<" + " ".join(canon(k, inside) + ":" + canon(x, inside) for k, x in v.items()) + ">"
    raise TypeError(t)


recursive = [1]
recursive.append(recursive)
cycle = {}
cycle["self"] = [cycle]
shared = ["x"]
VALUES = {
    "none": None,
    "bools": [True, False],
    "ints": [0, 1, -1, 255, 256, 65535, 65536, -32769, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**63, 2**64, -(2**70), 10**60],
    "floats": [0.0, -0.0, 1.5, 1e300, -5e-324, float("inf"), float("-inf"), 0.1],
    "strings": ["", "ascii", "line\nbreak\\slash", "ünï ☃ 🙂", "quote'\"", "\x00", "x" * 300],
    "bytes": [b"", b"abc", bytes(range(256)), bytearray(b"xy")],
    "containers": ([], {}, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"a": [1]}, set(), {1, "b"}, frozenset({2})),
    "keys": {"a": 1, 2: 3, None: 4, (5, 6): 7, 1.5: 8, True: 9, b"k": 10},
    "shared": [shared, shared, {"s": shared}],
    "recursive list": recursive,
    "recursive dict": cycle,
    "long list": list(range(1100)),
    "long dict": {f"k{i}": i for i in range(1100)},
    "many memos": [f"string {i}" for i in range(300)] * 2,
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    "defaultdict": collections.defaultdict(list, {"x": [1]}),
    "counter": collections.Counter("aab"),
}

with open(sys.argv[1], "wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as zipped, io.TextIOWrapper(zipped) as out:
    for name, v in VALUES.items():
        for protocol in range(6):
            for kind, data in (("", pickle.dumps(v, protocol)), (" optimized", pickletools.optimize(pickle.dumps(v, protocol))), (" pure", None)):
                if kind == " pure":
                    if name.startswith(("long", "many")): continue
                    f = io.BytesIO()
                    pickle._Pickler(f, protocol).dump(v)
                    data = f.getvalue()
                want = canon(pickle.loads(data))
                if len(want) > 10000: want = "length %d" % len(want)
                rec = {"name": name + kind, "protocol": protocol, "pickle": data.hex(), "want": want}
                out.write(json.dumps(rec) + "\n")

    for name, v in {
        "namespace": argparse.Namespace(lr=0.1, layers=[1, 2]),
        "simple namespace": types.SimpleNamespace(a=1),
        "deque": collections.deque([1, 2], maxlen=5),
        "path": pathlib.PurePosixPath("a/b"),
        "fraction": fractions.Fraction(1, 3),
        "date": datetime.date(2026, 11, 23),
        "complex": 1 + 2j,
    }.items():
        for protocol in range(6):
            out.write(json.dumps({"name": name, "protocol": protocol, "pickle": pickle.dumps(v, protocol).hex(), "want": "inert"}) + "\n")
