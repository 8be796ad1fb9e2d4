"""Prints what transformers makes of random small configs, one JSON object a line.

usage: python random_models.py SEED COUNT MODULE:CLASS...      MODULE is the directory under transformers/models

Each line: class, config (as drawn: keys absent, null or set), written (config.json as the model writes it), tensors (what
save_pretrained writes), native (under the names of the modules) and tied. A draw that transformers refuses gives a line with
class, config and error. Follows PreTrainedModel.save_pretrained of transformers 5.23.
"""
import collections
import importlib
import json
import random
import sys
import warnings

import torch
import transformers
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
CHOICES = {
    "vocab_size": [97, 120, 131], "hidden_size": [32, 64, 96, 48], "intermediate_size": [40, 72, 88], "num_hidden_layers": [1, 2, 3],
    "num_attention_heads": [2, 4, 8], "num_key_value_heads": [1, 2, None], "head_dim": [8, 12, 16, None], "attention_bias": [True, False],
    "mlp_bias": [True, False], "tie_word_embeddings": [True, False], "num_local_experts": [2, 3], "num_labels": [1, 3, 5],
    "n_embd": [32, 64], "n_layer": [1, 2, 3], "n_head": [2, 4], "n_inner": [None, 40, 72], "n_positions": [16, 24], "add_cross_attention": [True, False],
    "summary_use_proj": [True, False], "summary_proj_to_labels": [True, False],
    "max_position_embeddings": [16, 24], "type_vocab_size": [1, 2, 3],
    "d_model": [32, 48], "d_kv": [8, 12], "d_ff": [40, 56], "num_layers": [1, 2, 3], "num_decoder_layers": [1, 2, None], "num_heads": [2, 4],
    "relative_attention_num_buckets": [8, 16], "feed_forward_proj": ["relu", "gated-gelu", "gated-silu"],
    "encoder_layers": [1, 2, 3], "decoder_layers": [1, 2, 3], "encoder_ffn_dim": [40, 48], "decoder_ffn_dim": [40, 56], "encoder_attention_heads": [2, 4],
    "decoder_attention_heads": [2, 4], "num_mel_bins": [8, 16], "max_source_positions": [12, 16], "max_target_positions": [12, 14],
    "classifier_proj_size": [20, 24], "use_weighted_layer_sum": [True, False],
    "embedding_size": [8, 16], "num_channels": [1, 3], "layer_type": ["basic", "bottleneck"], "downsample_in_first_stage": [True, False],
    "downsample_in_bottleneck": [True, False],
    "depth": [1, 2], "in_channels": [1, 3], "patch_size": [2, 4], "temporal_patch_size": [1, 2], "spatial_merge_size": [1, 2], "out_hidden_size": [32, 64],
    "embed_dim": [16, 32], "mlp_ratio": [2, 4, 3], "image_size": [16, 24], "projection_dim": [12, 20], "vision_use_head": [True, False],
    "multimodal_projector_bias": [True, False], "vision_feature_layer": [-1, [-1, -2], [0]],
}
AUTO = {"text_config": ["llama", "qwen2", "mistral", "mixtral", "gemma"], "vision_config": ["clip_vision_model", "siglip_vision_model", "pixtral"]}
ONLY = {"paligemma": {"text_config": ["gemma"], "vision_config": ["siglip_vision_model"]}}  # it refuses the others
SMALL = {"num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers", "depth"}  # rarely left at the default


def fields(cls):
    return set(getattr(cls, "__dataclass_fields__", {}))


def draw(r, cls):
    own = {k for k in fields(cls) if k in CHOICES} | {"num_labels"}
    if "num_key_value_heads" in own:
        own.add("head_dim")  # asked for with getattr where it is not declared
    out = {}
    for k in sorted(own):
        if r.random() < (0.05 if k in SMALL else 0.2):
            continue
        out[k] = r.choice(CHOICES[k])
    if "pad_token_id" in fields(cls):
        out["pad_token_id"] = 0  # must be within the vocabulary
    if out.get("add_cross_attention") and "is_decoder" in fields(cls):
        out["is_decoder"] = True
    if {"depths", "hidden_sizes"} <= fields(cls):
        n = r.choice([1, 2, 3])
        out["depths"] = [r.choice([1, 2]) for _ in range(n)]
        out["hidden_sizes"] = [r.choice([8, 16, 32]) for _ in range(n)]
    for k, sub in (getattr(cls, "sub_configs", None) or {}).items():
        if k in AUTO and sub.__name__ == "AutoConfig":
            if r.random() < 0.85:
                model_type = r.choice(ONLY.get(cls.model_type, {}).get(k, AUTO[k]))
                out[k] = {"model_type": model_type, **draw(r, transformers.CONFIG_MAPPING[model_type])}
        elif k in AUTO:
            out[k] = draw(r, sub)
    if "model_type" not in out.get("text_config", {"model_type": 1}) and r.random() < 0.3:  # flat, as published files are
        out.update({k: v for k, v in out.pop("text_config").items() if k not in out})
    if r.random() < 0.2:
        out["id2label"] = {str(i): f"L{i}" for i in range(r.choice([1, 4, 7]))}
    return out


def shapes(d):
    return {k: list(v.shape) for k, v in d.items()}


def inventory(cls, config):
    with torch.device("meta"):
        model = cls(config)
    state = dict(model.state_dict())
    by = collections.defaultdict(list)
    for n in state:
        by[id(model.get_parameter_or_buffer(n))].append(n)
    for k in [k for k in (model._keys_to_ignore_on_save or []) if k in state]:
        del state[k]
    state = remove_tied_weights_from_state_dict(state, model)
    native = shapes(state)
    tied = []
    for g in by.values():
        if len(g) > 1:
            kept = [n for n in g if n in native]
            tied.append(kept + sorted(n for n in g if n not in native))
    model.config.architectures = [cls.__name__]
    written = json.loads(model.config.to_json_string(use_diff=True))
    return {"written": written, "native": native, "tensors": shapes(revert_weight_conversion(model, state)), "tied": tied}


def main():
    r, count = random.Random(int(sys.argv[1])), int(sys.argv[2])
    for arg in sys.argv[3:]:
        module, _, name = arg.partition(":")
        cls = getattr(transformers, name, None) or getattr(importlib.import_module(f"transformers.models.{module}.modeling_{module}"), name)
        for _ in range(count):
            config = draw(r, cls.config_class)
            config["model_type"], config["architectures"] = cls.config_class.model_type, [name]
            line = {"class": name, "config": config}
            try:
                line.update(inventory(cls, cls.config_class.from_dict(json.loads(json.dumps(config)))))
            except Exception as e:  # refused by transformers
                line["error"] = f"{type(e).__name__}: {str(e)[:200]}"
            print(json.dumps(line), flush=True)


main()
