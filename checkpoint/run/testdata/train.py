"""A real Trainer on a tiny model, with or without a SIGUSR1 handler.

train.py --output_dir DIR [--handler] [--lora] [--max_steps N] [--save_steps N] [--pause SECONDS] [--resume CHECKPOINT ...]
prints "ready" after the first step and, at the end, the optimizer's step as "optimizer N". With --resume it goes on from each
checkpoint in turn and prints a line of JSON for each: its path, the optimizer's step or what was raised, and the warnings.
torchrun starts several of them.
"""
import argparse, json, logging, os, signal, time

os.environ["CUDA_VISIBLE_DEVICES"] = ""
import torch
import transformers
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer, TrainerCallback, TrainingArguments

p = argparse.ArgumentParser()
p.add_argument("--output_dir")
p.add_argument("--handler", action="store_true")
p.add_argument("--lora", action="store_true")
p.add_argument("--max_steps", type=int, default=6)
p.add_argument("--save_steps", type=int, default=2)
p.add_argument("--save_total_limit", type=int, default=2)
p.add_argument("--pause", type=float, default=0)
p.add_argument("--resume", nargs="*", default=[])
a = p.parse_args()
torch.set_num_threads(1)
wanted = False


class Callback(TrainerCallback):
    def on_step_end(self, args, state, control, **kw):
        global wanted
        if state.global_step == 1:
            print("ready", flush=True)
        time.sleep(a.pause)
        now = torch.tensor(int(wanted))
        if torch.distributed.is_initialized():  # all ranks save at the same step, or none
            torch.distributed.all_reduce(now, op=torch.distributed.ReduceOp.MAX)
        if now:
            wanted, control.should_save = False, True
        return control


def handler(*_):
    global wanted
    wanted = True


if a.handler:
    signal.signal(signal.SIGUSR1, handler)


def trainer(output_dir):
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                         num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False))
    if a.lora:
        from peft import LoraConfig, get_peft_model
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    data = [{"input_ids": torch.arange(i, i + 8) % 48, "labels": torch.arange(i, i + 8) % 48} for i in range(64)]
    return Trainer(model=model, train_dataset=data, callbacks=[Callback()], args=TrainingArguments(
        output_dir=output_dir, max_steps=a.max_steps, save_steps=a.save_steps, save_total_limit=a.save_total_limit,
        per_device_train_batch_size=1, report_to=[], disable_tqdm=True, use_cpu=True, logging_steps=1))


def steps(t):
    return max((int(s["step"]) for s in t.optimizer.state.values()), default=0)


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


for checkpoint in a.resume:
    heard = Warnings()
    transformers.utils.logging.add_handler(heard)
    result = {"checkpoint": checkpoint, "optimizer": None, "raised": None, "warnings": heard.texts}
    try:
        t = trainer(os.path.dirname(checkpoint))
        t.train(resume_from_checkpoint=checkpoint)
        result["optimizer"] = steps(t)
    except Exception as e:
        result["raised"] = f"{type(e).__name__}: {e}"
    transformers.utils.logging.remove_handler(heard)
    print("\n" + json.dumps(result), flush=True)
if not a.resume:
    t = trainer(a.output_dir)
    t.train()
    print("optimizer", steps(t), flush=True)
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
