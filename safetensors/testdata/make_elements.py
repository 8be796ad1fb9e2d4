"""Writes elements/*.gz, what torch and ml_dtypes make of every element type.

Run by hand: python make_elements.py. Made with torch 2.15.0, ml_dtypes 0.6.0 and
numpy 2.4.6; the types of 8 bits and more are torch's, the others ml_dtypes'.

DTYPE.decode.gz: the float32 value of every code. DTYPE.encode.gz: the codes of the
float32 inputs of element_golden_test.go. Both are arrays of little-endian numbers,
all low bytes first, then the next ones, because that packs well. A NaN is always
0x7fc00000 among the values and the largest code of the width among the codes.
"""

import gzip
import os

import ml_dtypes
import numpy as np
import torch

TORCH = {
    "F16": (torch.float16, 16),
    "BF16": (torch.bfloat16, 16),
    "F8_E4M3": (torch.float8_e4m3fn, 8),
    "F8_E5M2": (torch.float8_e5m2, 8),
    "F8_E4M3FNUZ": (torch.float8_e4m3fnuz, 8),
    "F8_E5M2FNUZ": (torch.float8_e5m2fnuz, 8),
    "F8_E8M0": (torch.float8_e8m0fnu, 8),
}
ML = {
    "F6_E2M3": (ml_dtypes.float6_e2m3fn, 6),
    "F6_E3M2": (ml_dtypes.float6_e3m2fn, 6),
    "F4": (ml_dtypes.float4_e2m1fn, 4),
}


def decode(name, codes):
    if name in TORCH:
        dtype, bits = TORCH[name]
        ints = codes.astype(np.int16 if bits == 16 else np.uint8)
        return torch.from_numpy(ints).view(dtype).to(torch.float32).numpy()
    return codes.astype(np.uint8).view(ML[name][0]).astype(np.float32)


def encode(name, values):
    if name in TORCH:
        dtype, bits = TORCH[name]
        out = torch.from_numpy(values).to(dtype).view(torch.int16 if bits == 16 else torch.uint8).numpy()
        return out.view(np.uint16 if bits == 16 else np.uint8)
    return values.astype(ML[name][0]).view(np.uint8)


def save(name, array):
    planes = array.astype(array.dtype.newbyteorder("<")).view(np.uint8).reshape(-1, array.dtype.itemsize).T
    with open(os.path.join(os.path.dirname(__file__), "elements", name + ".gz"), "wb") as f:
        f.write(gzip.compress(planes.tobytes(), 9, mtime=0))


def inputs(table):
    """The values to encode: a sample of all float32, all midpoints, their neighbours."""
    dense = (np.arange(1 << 16, dtype=np.uint64) * 65521 % (1 << 32)).astype(np.uint32).view(np.float32)
    finite = np.unique(table[np.isfinite(table)]) + np.float32(0)  # no -0
    wide = finite.astype(np.float64)
    top = wide[-1] + (wide[-1] - wide[-2]) / 2  # where overflow begins
    mid = np.append((wide[:-1] + wide[1:]) / 2, [top, -top]).astype(np.float32)
    inf = np.float32(np.inf)
    edge = np.array([0.0, -0.0, inf, -inf], dtype=np.float32)
    return np.concatenate([dense, finite, mid, np.nextafter(mid, -inf), np.nextafter(mid, inf), edge])


for name, (_, bits) in (TORCH | ML).items():
    with np.errstate(all="ignore"):
        table = decode(name, np.arange(1 << bits))
        values = inputs(table)
        codes = encode(name, values)
        back = decode(name, codes)
    codes[np.isnan(back)] = (1 << codes.dtype.itemsize * 8) - 1
    raw = table.view(np.uint32).copy()
    raw[np.isnan(table)] = 0x7FC00000
    save(name + ".decode", raw)
    save(name + ".encode", codes)
