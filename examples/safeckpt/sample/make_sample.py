"""Makes the embedded sample: a LoRA checkpoint and a full fine-tune of a tiny
Qwen2.5-VL, written by the real Trainer, and a damaged copy of the full one.

    pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2 accelerate==1.15.0
    python make_sample.py
"""
import os
import shutil

import torch
from peft import LoraConfig, get_peft_model
from transformers import (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Trainer, TrainingArguments, set_seed)

HERE = os.path.dirname(os.path.abspath(__file__))
os.chdir(HERE)


def tiny():
    set_seed(0)
    config = Qwen2_5_VLConfig(
        text_config=dict(vocab_size=120, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, rope_parameters=dict(rope_type="default", rope_theta=1e6, mrope_section=[1, 1, 2]),
                         bos_token_id=1, eos_token_id=2),
        vision_config=dict(depth=2, hidden_size=16, intermediate_size=24, num_heads=2, patch_size=4, out_hidden_size=32, fullatt_block_indexes=[1]),
        image_token_id=100, video_token_id=101, vision_start_token_id=102, vision_end_token_id=103)
    return Qwen2_5_VLForConditionalGeneration(config).to(torch.bfloat16)


def train(model, out):
    ids = torch.randint(0, 99, (16, 12), generator=torch.Generator().manual_seed(0))
    data = [dict(input_ids=x, labels=x) for x in ids]
    args = TrainingArguments(output_dir=out, max_steps=20, save_steps=20, save_total_limit=2, logging_steps=5, eval_strategy="steps",
                             eval_steps=10, metric_for_best_model="eval_loss", per_device_train_batch_size=4, learning_rate=1e-3,
                             report_to=[], use_cpu=True, disable_tqdm=True)
    Trainer(model=model, args=args, train_dataset=data, eval_dataset=data[:4]).train()


shutil.rmtree("full", ignore_errors=True)
shutil.rmtree("lora", ignore_errors=True)
shutil.rmtree("damaged", ignore_errors=True)
train(tiny(), "full")
base = tiny()
base.name_or_path = base.config._name_or_path = "Qwen/Qwen2.5-VL-7B-Instruct"
train(get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])), "lora")

# The damage: a save that the disk was too full for.
shutil.copytree("full", "damaged")
weights = "damaged/checkpoint-20/model.safetensors"
os.truncate(weights, int(os.path.getsize(weights) * 0.6))
for late in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"):
    os.remove("damaged/checkpoint-20/" + late)
