"""The field's files that are known for what they are and not read: by what marks each is recognised, and what helps.

The first kind whose marks are all there is the file's, so that narrower kinds stand before wider ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from farfield.checkpoints.own_name import WAYS

IMAGES: Final = (
    "make images with its own code, and give those to `farfield score` or `farfield audit`; or take that code's network as "
    f"{WAYS}"
)
_EXPORT: Final = "make images with it in diffusers, and give those to `farfield score` or `farfield audit`"
_WHOLE: Final = "give the model that it belongs to"
_KNOWN: Final = "give the diffusion model; as --descriptor, clip and dinov2 are known by name"

Mark = str | tuple[str, int]
"""A pattern of names of weights, alone or with the number of the weight's dimensions."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: what it is.
        marks: each of which is there in one state dict.
        advice: how it is measured nevertheless.
        title: a pattern of names of classes, of EDM's and StyleGAN's pickles, one of which is there.
        places: what such a pickle, or a file of several networks, calls one of its parts.
    """

    name: str
    marks: tuple[Mark, ...] = ()
    advice: str = IMAGES
    title: str = ""
    places: tuple[str, ...] = ()


LORA: Final = Kind(
    "low-rank changes (LoRA, PEFT) of another model",
    (r".*lora[._](A|B|down|up|linear_layer)\b.*|.*\.(hada_w1_a|lokr_w1)|lora_(unet|te\d?)_.*",),
    "merge them into their model with diffusers, save that as a folder, and give it",
)
OPTIMIZER: Final = Kind("the state of an optimizer, without a network", (), "give the file of the network beside it")
NAMELESS: Final = Kind(
    "a moving average without the names of its weights (torch_ema, diffusers' EMAModel)",
    (),
    "give the file that holds the network beside it, or the folder unet_ema",
)
TRAINING: Final = Kind(
    "a part of a training's state (its schedule, random numbers or loss scaling), without a network",
    (),
    "give the file of the network beside it",
)
WORDS: Final = Kind("learned words (textual inversion) of another model", (), _WHOLE)
CONSISTENCY: Final = Kind(
    "a consistency model, which answers with the end of a path and not with the mean",
    (),
    "give the diffusion model that it was distilled from; or " + IMAGES,
    title=r"(ECM|ECT|ICT|SCM|CTM|CM|CT|CD|Consistency)(Precond|Loss)\w*",
)
ONE_STEP: Final = Kind(
    "a one-step generator (SiD, DMD, Diff-Instruct), which makes images of noise and denoises nothing",
    (),
    "give the diffusion model that was distilled; or " + IMAGES,
    title=r"\w*(SID|SiD|DMD|VSD|Distill|DiffInstruct|Adversarial|GAN)\w*Loss\w*",
    places=("G", "G_ema", "fake_score", "generator", "generator_ema"),
)
GAN: Final = "a generator or discriminator of a GAN, which denoises nothing"
TOLD_MORE: Final = Kind(
    "latent diffusion that is shown or told more than a noisy latent (inpainting, depth, super-resolution, layouts, unCLIP)",
    (),
    _EXPORT,
)
WORDLESS: Final = Kind(
    "the network of Stable Diffusion without its text encoder",
    (),
    "give the whole file (cond_stage_model and first_stage_model in it), or a folder of diffusers",
)
_VIDEO: Final = "a transformer of videos"

OBJECTS: Final = (
    Kind(GAN, title=r"Generator|SynthesisNetwork|MappingNetwork|Discriminator|ProjectedDiscriminator"),
    CONSISTENCY,
    ONE_STEP,
)
"""Kinds of pickles of persistent objects (`checkpoints.persistent`)."""

KINDS: Final = (
    LORA,
    Kind(
        "a ControlNet, which steers another model", (r"(.*\.)?(control_model|controlnet_cond_embedding)\..*",), _WHOLE
    ),
    Kind("a transformer of the Flux family", (r"(.*\.)?double_blocks\.0\.img_attn\.qkv\.weight",), _EXPORT),
    Kind("a transformer of Stable Diffusion 3", (r"(.*\.)?joint_blocks\.0\.x_block\..*",), _EXPORT),
    Kind(f"{_VIDEO} (HunyuanVideo)", (r"(.*\.)?double_blocks\.0\.img_attn_qkv\.weight",), _EXPORT),
    Kind(f"{_VIDEO} (LTX)", (r"(.*\.)?patchify_proj\.weight",), _EXPORT),
    Kind(f"{_VIDEO} (Wan, CogVideoX, …)", ((r"(.*\.)?patch_embed(ding)?(\.proj)?\.weight", 5),), _EXPORT),
    Kind("Stable Diffusion XL as a single file", (r"conditioner\.embedders\..*",), _EXPORT),
    Kind("a network of k-diffusion", (r"(.*\.)?inner_model\..*", r"(.*\.)?(timestep_embed|mapping)\..*")),
)
"""Kinds of state dicts that hold, or look like, networks that are read."""

OTHERS: Final = (
    Kind(
        "a part of latent diffusion in its authors' format (LDM, Stable Diffusion as a single file), without its network",
        (r"first_stage_model\..*|model\.diffusion_model\..*|cond_stage_model\..*",),
        "give the whole file",
    ),
    Kind("a network of score_sde_pytorch, of a variant", (r"(.*\.)?all_modules\.0\.(weight|W)",)),
    Kind(
        "a U-Net of denoising-diffusion-pytorch (lucidrains), of a version before June 2023 or of another kind",
        (r"(.*\.)?init_conv\.weight",),
    ),
    Kind("a transformer of the Flux family", (r"(.*\.)?single_transformer_blocks\.0\..*",), _EXPORT),
    Kind("a transformer of Stable Diffusion 3", (r"(.*\.)?transformer_blocks\.0\.attn\.add_q_proj\.weight",), _EXPORT),
    Kind(
        "a U-Net of MONAI", (r"(.*\.)?conv_in\.conv\.weight", r"(.*\.)?(time_embed\.0|down_blocks\.0\..*conv)\.weight")
    ),
    Kind(
        "a diffusion transformer (PixArt)", (r"(.*\.)?x_embedder\.proj\.weight", r"(.*\.)?blocks\.0\.scale_shift_table")
    ),
    Kind(
        "a diffusion transformer (DiT, SiT), of a variant",
        (r"(.*\.)?x_embedder\.proj\.weight", r"(.*\.)?adaLN_modulation\.\d+\.weight"),
    ),
    Kind(
        "a diffusion transformer (U-ViT), of a variant",
        (r"(.*\.)?in_blocks\.0\.attn\.qkv\.weight", r"(.*\.)?mid_block\.attn\.qkv\.weight"),
    ),
    Kind(
        "a diffusion transformer of diffusers, without its folder",
        (r"(.*\.)?pos_embed\.proj\.weight", r"(.*\.)?transformer_blocks\.0\..*"),
        _EXPORT,
    ),
    Kind(
        "a super-resolution model (SR3), which is shown a small image beside the noisy one",
        (r"(.*\.)?noise_level_mlp\.\d+\.weight",),
    ),
    Kind(
        "a super-resolution network (ESRGAN), which denoises nothing",
        (r"(.*\.)?conv_first\.weight", r"(.*\.)?body\.0\..*"),
    ),
    Kind(
        "a network of EDM2 (arXiv 2312.02696), without its preconditioning",
        (r"(.*\.)?emb_fourier\.freqs", r"(.*\.)?enc\.\d+x\d+_conv\.weight"),
        "give the pickle that its training wrote, network-snapshot-….pkl",
    ),
    Kind(
        "a network of EDM without its preconditioning, as one-step generators (DMD) are kept too",
        (r"(.*\.)?map_layer0\.weight", r"(.*\.)?enc\.\d+x\d+_conv\.weight"),
        "give the pickle that EDM's training wrote; of a generator, " + IMAGES,
    ),
    Kind(
        "a latent consistency model of diffusers, without its folder",
        (r"(.*\.)?time_embedding\.cond_proj\.weight",),
        _EXPORT,
    ),
    Kind(
        "the weights of a network of diffusers, without its configuration",
        (r"(.*\.)?down_blocks\.0\.resnets\.0\.conv1\.weight", r"(.*\.)?conv_in\.weight", r".*time_embedding\..*"),
        "give the folder that they are in, with its config.json and scheduler_config.json",
    ),
    Kind(
        "an autoencoder, which denoises nothing",
        (r"(.*\.)?encoder\.(conv_in|down\.0|down_blocks\.0|blocks\.0)\..*", r"(.*\.)?decoder\..*"),
        "give the diffusion model that was trained with it",
    ),
    Kind(GAN, (r"(.*\.)?style\.1\.weight", r"(.*\.)?conv1\.conv\.modulation\.weight")),
    Kind(GAN, (r"(.*\.)?mapping\.fc0\.weight", r"(.*\.)?synthesis\..*")),
    Kind(GAN, (r"(.*\.)?shared\.weight", r"(.*\.)?blocks\.0\.0\.conv1\.weight.*")),
    Kind(GAN, (("(.*\\.)?main\\.0\\.weight", 4), r"(.*\.)?main\.\d+\.running_mean")),
    Kind("a text encoder", (r"(.*\.)?text_model\.embeddings\.token_embedding\.weight",), _WHOLE),
    Kind(
        "a network that compares pictures with words (CLIP)",
        (r"(.*\.)?token_embedding\.weight", r"(.*\.)?(visual|transformer\.resblocks)\..*"),
        _KNOWN,
    ),
    Kind(
        "a language model",
        (
            r"(.*\.)?(layers\.0\.self_attn\.q_proj|encoder\.layer\.0\.attention\.self\.query|block\.0\.layer\.0\.SelfAttention\.q"
            r"|h\.0\.attn\.c_attn)\.weight",
        ),
        "give the diffusion model",
    ),
    Kind("an adapter that shows another model a picture (IP-Adapter)", (r"(.*\.)?ip_adapter\..*",), _WHOLE),
    Kind("a network of NCSN or NCSNv2", (r"(.*\.)?begin_conv\.weight", r"(.*\.)?res1\..*")),
    Kind(
        "a network that describes images, and denoises nothing",
        (r"(backbone\.)?layer1\.0\.conv1\.weight|backbone\.initial_block\..*|Mixed_5b\..*",),
        "give it as --descriptor, and here the diffusion model",
    ),
    Kind(
        "a transformer that describes images, and denoises nothing",
        (r"(.*\.)?cls_token", r"(.*\.)?(blocks\.0\.attn\.qkv|encoder\.layer\.0\..*)\.weight"),
        _KNOWN,
    ),
    Kind("a network of videos or of volumes, in three dimensions", ((r".*(conv|proj|embed).*weight", 5),)),
)
"""Kinds of state dicts in which no network that is read was found."""

PIPELINES: Final = (
    (r"Flux.*", "a transformer of the Flux family"),
    (r"StableDiffusion3.*|SD3.*", "a transformer of Stable Diffusion 3"),
    (r".*(Video|Wan|Mochi|LTX|Allegro|Latte|EasyAnimate|AnimateDiff|UNet3D|UNetMotion|UNetSpatioTemporal).*", _VIDEO),
    (r".*Consistency.*", "a consistency model, which answers with the end of a path and not with the mean"),
    (r".*(Upscale|SuperResolution).*", "a super-resolution model, which is shown a small image beside the noisy one"),
    (r".*(ControlNet|T2IAdapter).*", "a network that steers another"),
    (r"StableDiffusionXL.*|Kolors.*", "Stable Diffusion XL"),
    (r"(DiT)?Transformer2D.*", "a diffusion transformer, without the rest of its pipeline"),
    (r"HunyuanDiT.*|PixArt.*|Sana.*|Lumina.*|AuraFlow.*", "a diffusion transformer"),
    (r"(Autoencoder|VQModel).*", "an autoencoder, which denoises nothing"),
    (r"UNet2DCondition.*", "a U-Net that is told words, or another condition, without the rest of its pipeline"),
    (r".*(Inpaint|Img2Img|InstructPix2Pix|Depth2Img).*", "a model that is shown another image beside the noisy one"),
)
"""What the classes of diffusers' pipelines and networks are, by patterns of their names."""
