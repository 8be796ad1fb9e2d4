#!/usr/bin/env python3
"""What torch itself says of torch files, for the tests beside this directory.

torch_files.py make DIR        writes the torch_*.pt files of DIR
torch_files.py describe FILE   prints one JSON line for each tensor in FILE, depth first;
                               testdata/*.jsonl are its output

Made with torch 2.15. Nothing but torch is imported for describing: classes that
are not installed are replaced by empty ones.
"""
import collections, hashlib, json, pickle, sys
import torch


def values():
    base = torch.arange(24, dtype=torch.float32)
    view = base.view(4, 6)
    param = torch.nn.Parameter(torch.linspace(0, 1, 5))
    attributed = torch.ones(3)
    attributed.ds_id = "1_6"
    dtypes = {}
    for name in ("float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool complex64 complex128 "
                 "uint64 uint32 uint16 float8_e4m3fn float8_e5m2 float8_e8m0fnu float8_e4m3fnuz float8_e5m2fnuz").split():
        dtype = getattr(torch, name)
        size = torch.empty(0, dtype=dtype).element_size()
        raw = torch.arange(1, 1 + 6 * size, dtype=torch.uint8)
        dtypes[name] = (raw % 2).bool() if name == "bool" else raw.view(dtype).reshape(2, 3)
    return {
        "dtypes": dtypes,
        "shared": [base, view, view.t(), view[1:3, 2:5], base[7]],
        "empty": [torch.empty(0), torch.empty(3, 0, 2), torch.empty(0, 5)[:, 1:3]],
        "scalars": (torch.tensor(3.5), torch.tensor(7), torch.tensor(True)),
        "expanded": torch.ones(1, 4).expand(3, 4),
        "parameter": param,
        "attributed": attributed,
        "buffer": torch.nn.Buffer(torch.zeros(2)) if hasattr(torch.nn, "Buffer") else torch.zeros(2),
        "ordered": collections.OrderedDict([("b", torch.ones(1)), ("a", torch.zeros(1))]),
        "negated": torch.ones(2, dtype=torch.complex64).conj().imag,
        "sparse": torch.eye(2).to_sparse(),
        "other": [torch.Size([2, 3]), torch.float16, torch.device("cuda", 1), None, 2**70, {1, 2}, b"\x00\xff"],
    }


def make(dir):
    v = values()
    torch.save(v, dir + "/torch_zip.pt")
    torch.save(v, dir + "/torch_zip_p5.pt", pickle_protocol=5)
    for name in list(v["dtypes"]):  # torch cannot read back what it saves of these in the legacy format
        if name.startswith(("float8", "uint16", "uint32", "uint64")):
            del v["dtypes"][name]
    torch.save(v, dir + "/torch_legacy.pt", _use_new_zipfile_serialization=False)
    # without checksums, which torch can be told to leave out
    torch.serialization.set_crc32_options(False)
    torch.save(v["shared"], dir + "/torch_nocrc.pt")


class Stub:
    def __new__(cls, *args, **kwargs): return object.__new__(cls)
    def __init__(self, *args, **kwargs): pass
    def __setstate__(self, state): pass
    def append(self, *args): pass
    def __setitem__(self, *args): pass


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        try:
            return super().find_class(module, name)
        except Exception:
            return type(name, (Stub,), {})


class Pickle:
    Unpickler = Unpickler
    load = staticmethod(lambda f, **kw: Unpickler(f, **kw).load())


def describe(file):
    seen = set()

    def walk(v, path):
        if isinstance(v, torch.Tensor):
            if v.is_sparse or v.is_neg() or v.is_conj():
                return
            t = v.detach().contiguous().reshape(-1)
            data = t.view(torch.uint8).numpy().tobytes() if t.numel() else b""
            print(json.dumps({"path": path, "dtype": str(v.dtype).removeprefix("torch."), "shape": list(v.shape), "strides": list(v.stride()),
                              "offset": v.storage_offset(), "storage": v.untyped_storage().nbytes(), "requires_grad": v.requires_grad, "data": data.hex() if len(data) <= 64 else "sha256:" + hashlib.sha256(data).hexdigest()}))
        elif isinstance(v, dict):
            if id(v) not in seen:
                seen.add(id(v))
                for k, x in v.items():
                    plain = isinstance(k, str) and k.isidentifier()
                    walk(x, path + ("." + k if plain else f"[{k}]" if isinstance(k, int) else f'["{k}"]'))
        elif isinstance(v, (list, tuple)):
            if id(v) not in seen:
                seen.add(id(v))
                for i, x in enumerate(v):
                    walk(x, f"{path}[{i}]")

    try:
        v = torch.load(file, map_location="cpu", weights_only=False, pickle_module=Pickle)
    except RuntimeError as e:
        sys.exit(f"torch refuses {file}: {e}")
    walk(v, "")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("make", "describe"):
        sys.exit(__doc__)
    (make if sys.argv[1] == "make" else describe)(sys.argv[2])
