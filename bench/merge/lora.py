"""The inputs and the peer of lora.sh.

  lora.py gen DIR       write DIR/base, a Llama of 1.67 GB in bfloat16 in 4 shards, and DIR/adapter,
                        a LoRA of rank 16 on its 112 linear layers: the same bytes on every machine
  lora.py peft DIR OUT  merge them with PEFT and save the result
  lora.py digest DIR    SHA-256 over names and data of the tensors of a model, sorted by name
"""
import hashlib, json, os, sys

HIDDEN, INTER, LAYERS, HEADS, KV, VOCAB, SHARD, RANK, ALPHA = 2048, 5632, 16, 32, 4, 32000, 500_000_000, 16, 32
HEAD = HIDDEN // HEADS
LINEAR = [("self_attn.q_proj", HIDDEN, HIDDEN), ("self_attn.k_proj", KV * HEAD, HIDDEN), ("self_attn.v_proj", KV * HEAD, HIDDEN), ("self_attn.o_proj", HIDDEN, HIDDEN),
          ("mlp.gate_proj", INTER, HIDDEN), ("mlp.up_proj", INTER, HIDDEN), ("mlp.down_proj", HIDDEN, INTER)]


def shapes():
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for layer in range(LAYERS):
        for name, out, size in LINEAR:
            yield f"model.layers.{layer}.{name}.weight", (out, size)
        yield f"model.layers.{layer}.input_layernorm.weight", (HIDDEN,)
        yield f"model.layers.{layer}.post_attention_layernorm.weight", (HIDDEN,)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def values(name, shape, scale):
    """float32 in [-scale, scale), which only the name decides."""
    import numpy as np
    n = int(np.prod(shape))
    bits = np.random.Philox(key=int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")).random_raw((n + 1) // 2).view(np.uint32)[:n]
    return (((bits >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)) * np.float32(scale)).reshape(shape)


def gen(dir):
    import torch
    from safetensors.torch import save_file
    os.makedirs(dir + "/base")
    os.makedirs(dir + "/adapter")
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=HIDDEN, intermediate_size=INTER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                  num_key_value_heads=KV, vocab_size=VOCAB, max_position_embeddings=2048, rms_norm_eps=1e-5, hidden_act="silu", tie_word_embeddings=False, dtype="bfloat16", bos_token_id=1, eos_token_id=2)
    json.dump(config, open(dir + "/base/config.json", "w"), indent=1, sort_keys=True)
    shards, size = [[]], 0
    for name, shape in shapes():
        n = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        if shards[-1] and size + n > SHARD:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += n
    weight_map, total = {}, 0
    for i, shard in enumerate(shards):
        file, tensors = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors", {}
        for name, shape in shard:
            t = torch.from_numpy(values(name, shape, 0.04)) if len(shape) == 2 else torch.from_numpy(values(name, shape, 0.1)) + 1
            tensors[name], weight_map[name] = t.to(torch.bfloat16), file
            total += 2 * t.numel()
        save_file(tensors, f"{dir}/base/{file}", metadata={"format": "pt"})
    json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, open(dir + "/base/model.safetensors.index.json", "w"), indent=1, sort_keys=True)
    adapter = {}
    for name, shape in shapes():
        if ".layers." in name and len(shape) == 2:
            module = "base_model.model." + name.removesuffix(".weight")
            adapter[module + ".lora_A.weight"] = torch.from_numpy(values(module + "A", (RANK, shape[1]), 0.02))
            adapter[module + ".lora_B.weight"] = torch.from_numpy(values(module + "B", (shape[0], RANK), 0.02))
    save_file(adapter, dir + "/adapter/adapter_model.safetensors", metadata={"format": "pt"})
    json.dump(dict(peft_type="LORA", task_type="CAUSAL_LM", base_model_name_or_path="base", r=RANK, lora_alpha=ALPHA, target_modules=[n.split(".")[-1] for n, _, _ in LINEAR]),
              open(dir + "/adapter/adapter_config.json", "w"), indent=1, sort_keys=True)


def merge(dir, out):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(dir + "/base", dtype="auto")
    PeftModel.from_pretrained(model, dir + "/adapter").merge_and_unload().save_pretrained(out)


def digest(dir):
    tensors, h = {}, hashlib.sha256()
    for file in sorted(os.listdir(dir)):
        if file.endswith(".safetensors"):
            with open(f"{dir}/{file}", "rb") as f:
                n = int.from_bytes(f.read(8), "little")
                for name, t in json.loads(f.read(n)).items():
                    if name != "__metadata__":
                        tensors[name] = (file, 8 + n, *t["data_offsets"])
    for name in sorted(tensors):
        file, start, begin, end = tensors[name]
        h.update(name.encode())
        with open(f"{dir}/{file}", "rb") as f:
            f.seek(start + begin)
            h.update(f.read(end - begin))
    print(h.hexdigest())


os.environ["HF_HUB_OFFLINE"] = "1"
{"gen": gen, "peft": merge, "digest": digest}[sys.argv[1]](*sys.argv[2:])
