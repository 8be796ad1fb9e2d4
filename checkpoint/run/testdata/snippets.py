"""The two snippets that people verify checkpoints with.

snippets.py BASE CHECKPOINT...
prints a line of JSON for each checkpoint and snippet: what it printed, what transformers and Python warned of, what was raised.
"""
import json, logging, os, sys, warnings

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
import transformers
from peft import PeftModel
from transformers import AutoModel

torch.set_num_threads(1)
base, *checkpoints = sys.argv[1:]


def with_adapter(checkpoint):
    model = AutoModel.from_pretrained(base)
    model = PeftModel.from_pretrained(model, checkpoint)
    return "Checkpoint valid!"


def alone(checkpoint):
    model = AutoModel.from_pretrained(checkpoint)
    return "Checkpoint valid!"


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


for checkpoint in checkpoints:
    for snippet in with_adapter, alone:
        if snippet is with_adapter and "lora" not in os.path.basename(os.path.dirname(checkpoint)):
            continue
        heard = Warnings()
        transformers.utils.logging.add_handler(heard)
        result = {"checkpoint": checkpoint, "snippet": snippet.__name__, "printed": None, "raised": None}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                result["printed"] = snippet(checkpoint)
            except Exception as e:
                result["raised"] = f"{type(e).__name__}: {e}"
        transformers.utils.logging.remove_handler(heard)
        result["warnings"] = heard.texts + [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        print("\n" + json.dumps(result), flush=True)
