"""DiTPipeline's folders: their transformer as DiT's formulas have it, or as diffusers evaluates it, whoever trained it."""

import contextlib
import io
import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import farfield
from torch import nn
from transformer_files import Flags, dit, dit_layout, weights
from vae_files import make_vae

from farfield.checkpoints import latent
from farfield.checkpoints.load import load_denoiser, model_digest
from farfield.core.error import FarfieldError
from farfield.study.model.description import describe

pytestmark = pytest.mark.usefixtures("without_the_page")

F64 = torch.float64
FLAGS = Flags(channels=4, blocks=3, rows=6)
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def make_folder(folder, blocks=3):
    """A pipeline of random weights as diffusers saves it; its transformer."""
    from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

    with (
        torch.random.fork_rng(devices=[]),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        torch.manual_seed(0)
        transformer = DiTTransformer2DModel(
            num_attention_heads=3, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=blocks, sample_size=8,
            num_embeds_ada_norm=5,
        )  # fmt: skip
        for p in transformer.parameters():
            p.data.normal_(0, 0.15)
        vae = AutoencoderKL.from_pretrained(make_vae(folder.parent / f"{folder.name}-vae", 0.3))
        pipeline = DiTPipeline(transformer=transformer, vae=vae, scheduler=DDIMScheduler(clip_sample=False))
        pipeline.save_pretrained(folder)
    index = folder / "model_index.json"  # in which the published ones have the names of their classes
    names = {"id2label": {i: f"thing {i}, object {i}" for i in range(5)}}
    index.write_text(json.dumps(json.loads(index.read_text()) | names))
    return transformer.eval()


def theirs(state):
    """Weights of DiT by diffusers' names, as its conversion leaves them: one embedding, copied into each block."""
    made = {}
    for end in ("weight", "bias"):
        made[f"pos_embed.proj.{end}"] = state[f"x_embedder.proj.{end}"]
        made[f"proj_out_1.{end}"] = state[f"final_layer.adaLN_modulation.1.{end}"]
        made[f"proj_out_2.{end}"] = state[f"final_layer.linear.{end}"]
        for i in range(FLAGS.blocks):
            ours, block = f"blocks.{i}", f"transformer_blocks.{i}"
            for name, part in zip("qkv", state[f"{ours}.attn.qkv.{end}"].chunk(3), strict=True):
                made[f"{block}.attn1.to_{name}.{end}"] = part.clone()
            made[f"{block}.attn1.to_out.0.{end}"] = state[f"{ours}.attn.proj.{end}"]
            made[f"{block}.ff.net.0.proj.{end}"] = state[f"{ours}.mlp.fc1.{end}"]
            made[f"{block}.ff.net.2.{end}"] = state[f"{ours}.mlp.fc2.{end}"]
            made[f"{block}.norm1.linear.{end}"] = state[f"{ours}.adaLN_modulation.1.{end}"]
            for k, there in ((0, "linear_1"), (2, "linear_2")):
                made[f"{block}.norm1.emb.timestep_embedder.{there}.{end}"] = state[f"t_embedder.mlp.{k}.{end}"].clone()
    for i in range(FLAGS.blocks):
        table = state["y_embedder.embedding_table.weight"].clone()
        made[f"transformer_blocks.{i}.norm1.emb.class_embedder.embedding_table.weight"] = table
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One trained in diffusers and its transformer, and one converted from DiT's own weights and these."""
    root = tmp_path_factory.mktemp("dit")
    trained = make_folder(root / "trained")
    converted = shutil.copytree(root / "trained", root / "converted")
    state = weights(dit_layout(FLAGS))
    # of the places, which no folder holds, DiT's own
    grid = torch.arange(16)
    half = FLAGS.width // 4
    waves = [(at.double()[:, None] / 10_000 ** (torch.arange(half).double() / half)) for at in (grid % 4, grid // 4)]
    state["pos_embed"] = torch.cat([f(w) for w in waves for f in (torch.sin, torch.cos)], 1)[None].float()
    save_file({k: v.contiguous() for k, v in theirs(state).items()}, converted / WEIGHTS, metadata={"format": "pt"})
    return {"trained": root / "trained", "converted": converted, "transformer": trained, "state": state}


def changed(folder, to, file="transformer/config.json", **values):
    shutil.copytree(folder, to)
    told = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps({**told, **values}))
    return to


def levels():
    signal = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=F64)).cumprod(0)
    return [(k, ((1 - signal[k]) / signal[k]).sqrt(), signal[k].sqrt()) for k in (0, 300, 980)]


def noisy(model, sigma):
    g = torch.Generator().manual_seed(2)
    x = torch.rand(2, *model.shape, generator=g, dtype=F64) * 2 - 1
    return x + sigma * torch.randn(2, *model.shape, generator=g, dtype=F64)


@pytest.mark.parametrize("label", [0, 4, -1])
def test_one_that_was_converted_is_dits_formulas(folders, label):
    model = load_denoiser(str(folders["converted"]), dtype=F64, label=label)
    rows = torch.tensor([label % 6, label % 6])  # the last row stands for none
    for k, sigma, root in levels():
        x = noisy(model, sigma)
        said = dit(FLAGS, folders["state"], root * x, torch.full((2,), k, dtype=F64), rows)[:, :4]
        assert float((model(x, sigma) - (x - sigma * said)).abs().max()) < 1e-5 * (1 + float(sigma))
    told = {f.what: f.value for f in describe(str(folders["converted"])).findings}
    assert told["time"] == "told as DiT's own code does" and told["class names"] == 5


class Waves(nn.Module):
    """What diffusers tells of a time, in float64: it rounds the angles to float32 itself."""

    def forward(self, time):
        angle = time.double()[:, None] * 10_000 ** -(torch.arange(128, dtype=F64) / 127)
        return torch.cat([angle.cos(), angle.sin()], 1)


@torch.no_grad()
@pytest.mark.parametrize("label", [0, 4, -1])
def test_one_that_was_trained_in_diffusers_is_what_diffusers_computes(folders, label):
    model = load_denoiser(str(folders["trained"]), dtype=F64, label=label)
    transformer = folders["transformer"].double()
    rows, found = torch.tensor([label % 6, label % 6]), []
    for block in transformer.transformer_blocks:
        found.append(block.norm1.emb.time_proj)
    for k, sigma, root in levels():
        x = noisy(model, sigma)
        for waves, tolerance in ((None, 1e-4), (Waves(), 1e-6)):
            for block, own in zip(transformer.transformer_blocks, found, strict=True):
                block.norm1.emb.time_proj = waves or own
            said = transformer(root * x, timestep=torch.tensor([k, k]), class_labels=rows).sample[:, :4]
            assert float((model(x, sigma) - (x - sigma * said)).abs().max()) < tolerance * (1 + float(sigma))
    for block, own in zip(transformer.transformer_blocks, found, strict=True):
        block.norm1.emb.time_proj = own
    assert {f.what: f.value for f in describe(str(folders["trained"])).findings}["time"] == "told as diffusers does"


def test_the_two_tell_the_time_differently(folders, tmp_path):
    """The same weights, but for a bias that makes the blocks' embeddings different: another frequency, another answer."""
    folder = shutil.copytree(folders["converted"], tmp_path / "m")
    state = load_file(folder / WEIGHTS)
    state["transformer_blocks.2.norm1.emb.timestep_embedder.linear_2.bias"] += 1e-6
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    models = [load_denoiser(str(f), dtype=F64, label=0) for f in (folder, folders["converted"])]
    (_, low, _), _, (_, high, _) = levels()
    for sigma, differs in ((low, False), (high, True)):
        x = noisy(models[0], sigma)
        away = float((models[0](x, sigma) - models[1](x, sigma)).abs().max()) / (1 + float(sigma))
        assert (away > 1e-3) == differs


def test_embeddings_that_are_copies_in_part_are_refused(folders, tmp_path):
    folder = shutil.copytree(folders["converted"], tmp_path / "m")
    state = load_file(folder / WEIGHTS)
    state["transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight"][2, 3] += 1
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(FarfieldError, match=r"embedding_table.weight of block 1 is not"):
        load_denoiser(str(folder), label=0)


def test_one_block_says_nothing_and_is_read_as_diffusers_does(tmp_path):
    transformer = make_folder(tmp_path / "m", blocks=1).double()
    transformer.transformer_blocks[0].norm1.emb.time_proj = Waves()
    model = load_denoiser(str(tmp_path / "m"), dtype=F64, label=1)
    k, sigma, root = levels()[2]
    x = noisy(model, sigma)
    with torch.no_grad():
        said = transformer(root * x, timestep=torch.tensor([k, k]), class_labels=torch.tensor([1, 1])).sample[:, :4]
    assert float((model(x, sigma) - (x - sigma * said)).abs().max()) < 1e-6 * (1 + float(sigma))


@torch.no_grad()
def test_its_latents_are_those_of_its_own_autoencoder(folders):
    from diffusers import AutoencoderKL

    model = load_denoiser(str(folders["converted"]), dtype=F64, label=0)
    assert (model.shape, model.image_shape) == ((4, 8, 8), (3, 16, 16))
    coder = AutoencoderKL.from_pretrained(folders["converted"] / "vae").double()
    pictures = torch.rand(2, 3, 16, 16, dtype=F64) * 2 - 1
    code = 0.3 * coder.encode(pictures).latent_dist.mean
    torch.testing.assert_close(model.encode(pictures), code)
    torch.testing.assert_close(model.decode(code), coder.decode(code / 0.3).sample)


def test_it_is_a_model_of_every_command(folders, tmp_path):
    folder = folders["converted"]
    shown = farfield("inspect", folder)
    assert shown.code == 0 and "DiT: patches of 2 pixels, 24 channels, 3 blocks, 3 heads" in shown.out, shown.err
    assert "of which 0 is thing 0" in shown.out
    made = farfield("generate", folder, "--seeds", "0", "--steps", "2", "--label", "3", "-o", tmp_path / "run")
    assert made.code == 0, made.err
    assert model_digest(str(folder)) != model_digest(str(folders["trained"]))
    with pytest.raises(FarfieldError, match="reads no prompt"):
        load_denoiser(f"{folder}@a galaxy", label=0)
    with pytest.raises(FarfieldError, match="expected a label from 0 to 4, or -1"):
        load_denoiser(str(folder))
    copies = 2 * sum(math.prod(v.shape) for k, v in folders["state"].items() if "embedder" in k and "x_" not in k)
    whole = sum(math.prod(v.shape) for v in load_file(folder / WEIGHTS).values())
    assert describe(str(folder)).parameters == whole - copies


def test_older_folders_and_files(folders, tmp_path):
    """Transformer2DModel, torch's files, and places that were kept once."""
    old = {
        "cross_attention_dim": None,
        "num_vector_embeds": None,
        "only_cross_attention": False,
        "double_self_attention": False,
    }
    folder = changed(folders["converted"], tmp_path / "m", _class_name="Transformer2DModel", **old)
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "Transformer2DModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    state = load_file(folder / WEIGHTS) | {"pos_embed.pos_embed": folders["state"]["pos_embed"]}
    (folder / WEIGHTS).unlink()
    torch.save(state, folder / WEIGHTS.replace("safetensors", "bin"))
    x, sigma = torch.randn(1, 4, 8, 8, dtype=F64), torch.tensor(0.7, dtype=F64)
    models = [load_denoiser(str(f), dtype=F64, label=0) for f in (folder, folders["converted"])]
    torch.testing.assert_close(models[0](x, sigma), models[1](x, sigma), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_layers": 10**9}, "num_layers 1000000000; expected a whole number"),
        ({"num_layers": 4}, r"transformer_blocks.3.*missing"),
        ({"num_layers": 2}, r"transformer_blocks.2.*: no weight of"),
        ({"num_embeds_ada_norm": 9}, r"embedding_table.weight is of shape \(6, 24\)"),
        ({"sample_size": None}, "sample_size None"),
        ({"num_attention_heads": True}, "num_attention_heads True"),
        ({"patch_size": 3}, "patches of 3: expected multiples"),
        ({"attention_head_dim": 7}, "expected a multiple of 4"),
        ({"norm_type": "ada_norm"}, "norm_type is 'ada_norm', expected 'ada_norm_zero'"),
        ({"activation_fn": "geglu"}, "activation_fn is 'geglu'"),
        ({"attention_bias": False}, "attention_bias is False"),
        ({"cross_attention_dim": 64}, "cross_attention_dim is 64"),
        ({"in_channels": 3}, "takes 3 channels, but the autoencoder's latents have 4|is of shape"),
    ],
)
def test_what_is_not_such_a_transformer_is_refused(folders, values, said, tmp_path):
    folder = changed(folders["converted"], tmp_path / "m", **values)
    with pytest.raises(FarfieldError, match=said) as refused:
        load_denoiser(str(folder), label=0)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500 + len(str(folder))


def test_damage_is_named(folders, tmp_path):
    torn = shutil.copytree(folders["converted"], tmp_path / "torn")
    (torn / WEIGHTS).write_bytes((torn / WEIGHTS).read_bytes()[:900])
    with pytest.raises(FarfieldError, match="damaged or cut short"):
        load_denoiser(str(torn), label=0)
    shutil.rmtree(torn / "transformer")
    with pytest.raises(FarfieldError, match=r"transformer/config.json: missing"):
        load_denoiser(str(torn), label=0)
    index = changed(
        folders["converted"], tmp_path / "code", "model_index.json", transformer=["mine", "DiTTransformer2DModel"]
    )
    with pytest.raises(FarfieldError, match="code that comes with a model is not run"):
        load_denoiser(str(index), label=0)


def test_only_what_is_read_is_downloaded(folders):
    from huggingface_hub.utils import filter_repo_objects

    there = ["model_index.json", "README.md", "demo.py", "scheduler/scheduler_config.json"]
    there += [f"{p}/{f}" for p in ("transformer", "vae") for f in ("config.json", "diffusion_pytorch_model.bin")]
    found = set(filter_repo_objects(there, allow_patterns=list(latent.wanted(folders["converted"]))))
    assert found == set(there) - {"README.md", "demo.py"}
