"""Two steps of stock open_flamingo on shards of an export: `python open_flamingo_steps.py SHARDS` prints a JSON line.

Run by test_export_trainers.py in a process of its own, with open-flamingo and einops on the path. The model is tiny and
random. Every text in the shards names the colour of the image before it; `pairs` are (colour in the text behind the
k-th tag, colour of the k-th image), as the loader gives them to the model."""

import json
import re
import sys
from types import SimpleNamespace

import numpy as np
import open_clip
import torch
from data import get_mmc4_dataset  # open_flamingo/train is on the path, as its own scripts expect
from open_flamingo import Flamingo
from open_flamingo.src.flamingo_lm import FlamingoLMMixin
from open_flamingo.src.utils import extend_instance
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torchvision import transforms
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

COLOURS = {"red": (1, 0, 0), "green": (0, 0.5, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "black": (0, 0, 0)}


def tokenizer_of() -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.train_from_iterator([f"a {' '.join(COLOURS)} square ."], trainers.WordLevelTrainer(special_tokens=["<unk>"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="</s>", pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endofchunk|>", "<image>"]})
    # names that transformers 4 had and open_flamingo uses
    type(tokenizer).additional_special_tokens = ["<|endofchunk|>", "<image>"]
    type(tokenizer).additional_special_tokens_ids = tokenizer.convert_tokens_to_ids(["<|endofchunk|>", "<image>"])
    return tokenizer


def model_of(tokenizer: PreTrainedTokenizerFast) -> Flamingo:
    vision = {"image_size": 224, "layers": 1, "width": 64, "patch_size": 112}
    text = {"context_length": 8, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1}
    tower = open_clip.model.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text)
    tower.visual.output_tokens = True
    config = OPTConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, ffn_dim=32, num_attention_heads=2,
        max_position_embeddings=512, word_embed_proj_dim=32,
    )  # fmt: skip
    language = OPTForCausalLM(config)
    extend_instance(language, FlamingoLMMixin)
    language.set_decoder_layers_attr_name("model.decoder.layers")
    ids = tokenizer.convert_tokens_to_ids(["<|endofchunk|>", "<image>"])
    return Flamingo(tower, language, *ids, vis_dim=64, cross_attn_every_n_layers=1)


def colour(pixels: torch.Tensor) -> str:
    mean = pixels.mean(dim=(1, 2)).numpy()
    return min(COLOURS, key=lambda name: float(np.abs(mean - np.array(COLOURS[name])).sum()))


def main(shards: str) -> None:
    torch.manual_seed(0)
    tokenizer = tokenizer_of()
    model = model_of(tokenizer)
    processor = transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor()])
    args = SimpleNamespace(
        mmc4_shards=shards, train_num_samples_mmc4=4, mmc4_textsim_threshold=0.24, mmc4_min_num_images=1,
        mmc4_max_num_images=5, batch_size_mmc4=2, world_size=1, workers=1, seed=1,
    )  # fmt: skip
    loader = get_mmc4_dataset(args, processor, tokenizer).dataloader
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses, pairs, images = [], [], []
    for pictures, texts in loader:
        ids = torch.stack([text[0] for text in texts]).squeeze(1)
        mask = torch.stack([text[1] for text in texts]).squeeze(1)
        loss = model(pictures.unsqueeze(2), ids, attention_mask=mask, labels=ids)[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        for sample, row in zip(pictures, ids, strict=True):
            behind = tokenizer.decode(row).split("<image>")[1:]
            named = [re.search("|".join(COLOURS), part) for part in behind]
            images.append(len(behind))
            pairs += [[found[0], colour(sample[k])] for k, found in enumerate(named) if found is not None]
    print(json.dumps({"losses": losses, "pairs": pairs, "images": images}))


if __name__ == "__main__":
    main(sys.argv[1])
