"""Writes golden entries of quantized checkpoints: python quantized_models.py OUT.json

Every model is tiny and quantized by the method's own code on the CPU: transformers 5.23 with bitsandbytes 0.50.2,
compressed-tensors 0.20.0, autoawq 0.2.9 and auto-gptq 0.7.1. An entry is a config.json with the names, dtypes and shapes
of the tensors that were saved. Where a package wants a GPU to run, its modules are built and their state is taken.
"""

import json
import struct
import sys
import tempfile
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM, BitsAndBytesConfig, GPT2Config, LlamaConfig, MixtralConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration,
)

torch.manual_seed(0)
LLAMA = dict(vocab_size=96, hidden_size=128, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             head_dim=32, attention_bias=True, tie_word_embeddings=False)


def llama(**more):
    return AutoModelForCausalLM.from_config(LlamaConfig(**{**LLAMA, **more}), dtype=torch.bfloat16)


def mixtral():
    return AutoModelForCausalLM.from_config(MixtralConfig(vocab_size=96, hidden_size=128, intermediate_size=192, num_hidden_layers=1,
                                                          num_attention_heads=4, num_key_value_heads=2, num_local_experts=2), dtype=torch.bfloat16)


def header(path):
    with open(path, "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    return {name: [t["dtype"], t["shape"]] for name, t in head.items() if name != "__metadata__"}


DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32", torch.int64: "I64", torch.int16: "I16",
          torch.int8: "I8", torch.uint8: "U8", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e8m0fnu: "F8_E8M0"}


def state(model):
    return {name: [DTYPES[t.dtype], list(t.shape)] for name, t in model.state_dict().items()}


def written(model):
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    config.pop("quantization_config", None)
    return config


def bnb(id, model, **kwargs):
    with tempfile.TemporaryDirectory() as d:
        model.save_pretrained(d + "/a")
        m = type(model).from_pretrained(d + "/a", quantization_config=BitsAndBytesConfig(**kwargs), device_map={"": "cpu"}, dtype=torch.bfloat16)
        m.save_pretrained(d + "/b")
        tensors = {}
        for f in Path(d, "b").glob("*.safetensors"):
            tensors.update(header(f))
        return {"id": id, "config": json.loads(Path(d, "b/config.json").read_text()), "tensors": tensors}


def fp8(id, model, **kwargs):
    from transformers import FineGrainedFP8Config
    from transformers.integrations.finegrained_fp8 import replace_with_fp8_linear
    from transformers.quantizers.base import HfQuantizer

    q = FineGrainedFP8Config(**kwargs)
    skip = HfQuantizer.get_modules_to_not_convert(model, q.modules_to_not_convert, model._keep_in_fp32_modules)
    replace_with_fp8_linear(model, modules_to_not_convert=skip, quantization_config=q, pre_quantized=True)
    return {"id": id, "config": {**written(model), "quantization_config": q.to_dict()}, "tensors": state(model), "layout": "native"}


def replaced(id, model, config, make, exempt):
    """Puts make(linear) in the place of every linear map whose name is not exempt."""
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and not exempt(name):
            model.set_submodule(name, make(module))
    return {"id": id, "config": {**written(model), "quantization_config": config}, "tensors": state(model)}


def compressed(id, model, groups, ignore=("lm_head",), format=None, **more):
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    config = {"quant_method": "compressed-tensors", "format": format, "config_groups": groups, "ignore": list(ignore),
              "quantization_status": "compressed", **more}
    q = QuantizationConfig.model_validate({k: v for k, v in config.items() if k != "format" or v})
    apply_quantization_config(model, q)
    for name, p in model.named_parameters():
        if name.endswith(("scale", "global_scale")):
            p.data.fill_(1)
    ModelCompressor.from_pretrained_model(model, quantization_format=format).compress_model(model)
    return {"id": id, "config": {**written(model), "quantization_config": config}, "tensors": state(model)}


def bare(package):
    """Lets modules of a package be imported without what its __init__ wants."""
    import importlib.util
    import types

    m = types.ModuleType(package)
    parent, _, name = package.rpartition(".")
    m.__path__ = [str(Path(p) / name) for p in sys.modules[parent].__path__] if parent else list(importlib.util.find_spec(package).submodule_search_locations)
    sys.modules[package] = m


def entries():
    yield bnb("bnb-nf4-double", llama(), load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    yield bnb("bnb-fp4", llama(tie_word_embeddings=True), load_in_4bit=True)
    yield bnb("bnb-nf4-bf16-storage", llama(), load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_quant_storage=torch.bfloat16)
    yield bnb("bnb-skip", llama(), load_in_4bit=True, llm_int8_skip_modules=["lm_head", "down_proj", "model.layers.1.self_attn"])
    yield bnb("bnb-int8", llama(), load_in_8bit=True)
    yield bnb("bnb-int8-gpt2", AutoModelForCausalLM.from_config(GPT2Config(vocab_size=96, n_embd=64, n_layer=1, n_head=4, n_positions=32)), load_in_8bit=True)
    yield bnb("bnb-nf4-gpt2", AutoModelForCausalLM.from_config(GPT2Config(vocab_size=96, n_embd=64, n_layer=1, n_head=4, n_positions=32)), load_in_4bit=True, bnb_4bit_quant_type="nf4")
    yield bnb("bnb-nf4-mixtral", mixtral(), load_in_4bit=True, bnb_4bit_quant_type="nf4")

    yield fp8("fp8", llama(), weight_block_size=(128, 128))
    yield fp8("fp8-small-blocks", llama(), weight_block_size=(48, 32), modules_to_not_convert=["model.layers.0", "gate_proj", "re.*x", "lm_head"])
    yield fp8("fp8-per-tensor-static", llama(), weight_block_size=None, activation_scheme="static")
    yield fp8("fp8-mixtral", mixtral(), weight_block_size=(64, 64))

    from transformers.integrations.fbgemm_fp8 import FbgemmFp8Linear
    yield replaced("fbgemm", llama(), {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]},
                   lambda m: FbgemmFp8Linear(m.in_features, m.out_features, m.bias is not None), lambda n: n == "lm_head")
    from transformers.integrations.bitnet import BitLinear
    yield replaced("bitnet", llama(), {"quant_method": "bitnet"},
                   lambda m: BitLinear(m.in_features, m.out_features, m.bias is not None, dtype=torch.bfloat16), lambda n: n == "lm_head")

    for package in ("awq", "awq.modules", "awq.modules.linear", "awq.utils", "auto_gptq", "auto_gptq.nn_modules", "auto_gptq.nn_modules.qlinear"):
        bare(package)
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.modules.linear.gemv import WQLinear_GEMV
    from awq.modules.linear.gemv_fast import WQLinear_GEMVFast
    for version, cls in {"gemm": WQLinear_GEMM, "gemv": WQLinear_GEMV, "gemv_fast": WQLinear_GEMVFast}.items():
        for group in (32, 64, 128):
            yield replaced(f"awq-{version}-{group}", llama(intermediate_size=256),
                           {"quant_method": "awq", "bits": 4, "group_size": group, "version": version, "zero_point": True},
                           lambda m: cls(4, group, m.in_features, m.out_features, m.bias is not None, "cpu"), lambda n: n == "lm_head")

    from auto_gptq.nn_modules.qlinear.qlinear_cuda_old import QuantLinear
    for bits, group in ((4, 32), (8, -1), (3, 128), (2, 64)):
        yield replaced(f"gptq-{bits}-{group}", llama(),
                       {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": True, "checkpoint_format": "gptq"},
                       lambda m: QuantLinear(bits, group, m.in_features, m.out_features, m.bias is not None), lambda n: n == "lm_head")

    def group(weights, input=None, targets=("Linear",), **more):
        return {"group_0": {"targets": list(targets), "weights": weights, "input_activations": input, "output_activations": None, **more}}

    w4 = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, "dynamic": False}
    yield compressed("ct-w4a16", llama(), group(w4), format="pack-quantized")
    yield compressed("ct-w4a16-asym", llama(), group({**w4, "symmetric": False}), format="pack-quantized")
    yield compressed("ct-w4a16-channel-asym", llama(), group({**w4, "symmetric": False, "strategy": "channel", "group_size": None}), format="pack-quantized")
    yield compressed("ct-w3a16", llama(), group({**w4, "num_bits": 3}), format="pack-quantized")
    yield compressed("ct-w8a8", llama(), group({"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
                                               {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}), format="int-quantized")
    yield compressed("ct-fp8-dynamic", llama(), group({"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"},
                                                      {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True}), format="float-quantized")
    yield compressed("ct-fp8-static", llama(), group({"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor"},
                                                     {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}), format="float-quantized")
    yield compressed("ct-fp8-block", llama(), group({"num_bits": 8, "type": "float", "symmetric": True, "strategy": "block", "block_structure": [64, 64]}), format="float-quantized")
    yield compressed("ct-int8-asym-static", llama(), group({"num_bits": 8, "type": "int", "symmetric": False, "strategy": "channel"},
                                                           {"num_bits": 8, "type": "int", "symmetric": False, "strategy": "tensor", "dynamic": False}), format="int-quantized")
    yield compressed("ct-nvfp4", llama(), group({"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16},
                                                {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16, "dynamic": "local"}),
                     format="nvfp4-pack-quantized")
    yield compressed("ct-nvfp4a16", llama(), group({"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}), format="nvfp4-pack-quantized")
    yield compressed("ct-mxfp4", llama(), group({"num_bits": 4, "type": "float", "symmetric": True, "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}), format="mxfp4-pack-quantized")
    yield compressed("ct-targets", llama(), {
        **group(w4, targets=["re:.*mlp.*"], format="pack-quantized"),
        "group_1": {"targets": ["re:.*self_attn.(q|k|v)_proj$"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}, "format": "float-quantized"},
    }, ignore=["lm_head", "re:.*layers.1.*", "model.layers.0.mlp.up_proj"], format=None)


if __name__ == "__main__":
    out = []
    for e in entries():
        out.append(e)
        print(e["id"], len(e["tensors"]), file=sys.stderr)
    Path(sys.argv[1]).write_text("[\n" + ",\n".join(json.dumps(e, sort_keys=True, default=str) for e in out) + "\n]\n")
