"""Writes what TestReferenceWriter and TestModelWriterAsTransformers compare with.

Run by hand: SAFECKPT_RUSTREF=../../bench/rustref/target/release/rustref python make_writer.py
Made with safetensors 0.8.0 (Rust) and transformers 5.23.0.

reference/*.safetensors: files that the reference serialized. At most one metadata
key each, because it writes them in random order.
saved_model.json: what save_pretrained wrote of a model of zeros: the tensors in its
order, the index, and the SHA-256 of every file, by max_shard_size.
"""

import hashlib
import json
import os
import struct
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

BITS = dict(BOOL=8, F4=4, F6_E2M3=6, F6_E3M2=6, U8=8, I8=8, F8_E5M2=8, F8_E4M3=8, F8_E8M0=8, F8_E4M3FNUZ=8,
            F8_E5M2FNUZ=8, I16=16, U16=16, F16=16, BF16=16, I32=32, U32=32, F32=32, C64=64, F64=64, I64=64, U64=64)


def reference(name, tensors, metadata=None):
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for i, (tensor, dtype, shape) in enumerate(tensors):
        n = BITS[dtype]
        for d in shape:
            n *= d
        assert n % 8 == 0
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + n // 8]}
        data += bytes((i * 31 + j) % 256 for j in range(n // 8))
    text = json.dumps(header).encode()
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "in")
        with open(path, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text + data)
        out = os.path.join(HERE, "reference", name + ".safetensors")
        subprocess.run([os.environ["SAFECKPT_RUSTREF"], "rewrite", path, out], check=True)


os.makedirs(os.path.join(HERE, "reference"), exist_ok=True)
reference("empty", [])
reference("empty-metadata", [("a", "U8", [1])], {})  # without tensors 0.8.0 writes {},"__metadata__":{}}
reference("metadata-only", [], {"format": "pt"})
reference("all-dtypes", [(f"t.{d.lower()}.{k}", d, [4, k]) for d in BITS for k in (2, 1)], {"format": "pt"})
reference("shapes", [("scalar", "F32", []), ("none", "BF16", [0, 3]), ("none2", "F64", [2, 0]), ("deep", "U8", [1] * 70),
                     ("row", "I16", [3])])
names = ["", "a\"b\\c", "tab\tnewline\n\r\b\f", "\x00\x01\x1f\x7f", "ü", "日本語", "😀", "a/b", "../up", "\u2028", "A", "a", "aa"]
reference("names", [(n, "F16", [1]) for n in names], {"quote\" \\ \x01 é": "line\nbreak 😀"})

import torch  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

model = LlamaForCausalLM(LlamaConfig(vocab_size=48, hidden_size=16, intermediate_size=40, num_hidden_layers=3,
                                     num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False))
model = model.to(torch.bfloat16)
for p in model.parameters():
    torch.nn.init.zeros_(p)
saves = {}
for size in (1000, 1500, 4000, 10**9):
    with tempfile.TemporaryDirectory() as tmp:
        model.save_pretrained(tmp, max_shard_size=size)
        files = sorted(os.listdir(tmp))
        index = "model.safetensors.index.json"
        saves[size] = {
            "index": open(os.path.join(tmp, index)).read() if index in files else None,
            "sha256": {f: hashlib.sha256(open(os.path.join(tmp, f), "rb").read()).hexdigest()
                       for f in files if f.endswith(".safetensors")},
        }
tensors = [[k, "BF16", list(v.shape)] for k, v in model.state_dict().items()]
with open(os.path.join(HERE, "saved_model.json"), "w") as f:
    json.dump({"tensors": tensors, "saves": saves}, f, indent=1)
    f.write("\n")
