"""Which classes there are: those of the auto mappings, and what they are made of."""
from __future__ import annotations

import functools
import importlib
import inspect
import re

import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import model_type_to_module_name

# The auto classes by which one model asks for another, and their names in schema files.
ROLES = {
    "MODEL_MAPPING_NAMES": "base",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "causal",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES": "seq2seq",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES": "image_text",
    "MODEL_FOR_BACKBONE_MAPPING_NAMES": "backbone",
    "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES": "text_encoding",
    "MODEL_FOR_KEYPOINT_DETECTION_MAPPING_NAMES": "keypoint",
    "BACKBONE_MAPPING_NAMES": "backbone",
}
AUTO_CLASSES = {"AutoModel": "base", "AutoModelForCausalLM": "causal", "AutoModelForSeq2SeqLM": "seq2seq", "AutoModelForImageTextToText": "image_text",
                "AutoBackbone": "backbone", "AutoModelForTextEncoding": "text_encoding", "AutoModelForKeypointDetection": "keypoint"}
POPULAR = """llama qwen2 qwen3 mistral mixtral gemma gemma2 gemma3 gemma3_text phi phi3 qwen2_5_vl qwen2_vl qwen3_vl qwen3_vl_moe qwen2_moe qwen3_moe qwen3_next qwen3_5
deepseek_v2 deepseek_v3 gpt_oss gpt2 gpt_neo gpt_neox gptj bert roberta xlm-roberta distilbert deberta-v2 albert t5 mt5 bart mbart whisper clip siglip vit dinov2 llava
mllama llama4 llama4_text glm glm4 glm4_moe olmo olmo2 olmo3 olmoe cohere cohere2 starcoder2 granite granitemoe opt bloom falcon mpt mamba mamba2 falcon_mamba jamba
modernbert wav2vec2 hubert swin resnet convnext segformer beit deit blip-2 paligemma idefics3 smolvlm internvl aya_vision mistral3 pixtral""".split()


@functools.cache
def auto_classes() -> dict[str, list[str]]:
    """{class: model types} over all auto mappings."""
    out: dict[str, list[str]] = {}
    for key in dir(modeling_auto):
        if key.startswith("MODEL") and key.endswith("_MAPPING_NAMES"):
            for model_type, names in getattr(modeling_auto, key).items():
                for n in [names] if isinstance(names, str) else names:
                    types = out.setdefault(n, [])
                    if model_type not in types:
                        types.append(model_type)
    return out


@functools.cache
def further_classes() -> dict[str, list[str]]:
    """{class: model types} of the other model classes that transformers exports: CLIPTextModelWithProjection of a Stable Diffusion is one."""
    out = {}
    for n in dir(transformers):
        if not n[0].isupper() or n in auto_classes() or n.startswith("Auto") or re.search("Pre[tT]rained", n):
            continue
        try:
            cls = getattr(transformers, n)
            config = getattr(cls, "config_class", None)
        except ImportError:  # it wants a package that is not there
            continue
        if inspect.isclass(cls) and issubclass(cls, transformers.PreTrainedModel) and getattr(config, "model_type", "") and cls.__name__ == n:
            out[n] = [config.model_type]
    return out


@functools.cache
def roles() -> dict[tuple[str, str], list[str]]:
    """{(model type, class): roles}."""
    out: dict[tuple[str, str], list[str]] = {}
    for key, role in ROLES.items():
        for model_type, names in getattr(modeling_auto, key, {}).items():
            n = names if isinstance(names, str) else names[0]
            of = out.setdefault((model_type, n), [])
            if role not in of:
                of.append(role)
    return out


def module_of(name: str) -> str:
    """The module that defines a class of the auto mappings; importing it is what may fail for want of a package."""
    if hasattr(transformers, name) or name not in auto_classes():
        return getattr(transformers, name).__module__
    module = model_type_to_module_name(auto_classes()[name][0])  # not every class that an auto class loads is exported
    return f"transformers.models.{module}.modeling_{module}"


def ordered() -> list[str]:
    """All classes, those of popular model types first, base classes before their heads; then those outside the auto mappings."""
    rank = {t: n for n, t in enumerate(POPULAR)}

    def key(item: tuple[str, list[str]]) -> tuple:
        name, types = item
        return min(rank.get(t, len(rank)) for t in types), sorted(types)[0], bool(re.search(r"For|Head", name)), name

    return [n for n, _ in sorted(auto_classes().items(), key=key)] + sorted(further_classes())


def load(module: str, name: str) -> type:
    return getattr(importlib.import_module(module), name)
