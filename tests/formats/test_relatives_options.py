"""Options of the relatives' classes that are not planned with: each is refused in one sentence that names it."""

import json

import pytest
import torch
from formats import relatives, relatives_conditional

from diffuser_fast.formats import load

ACTIONS = {"action_dim": 2}


def said(path, **changes):
    """Other values in a JSON file, of a dotted key too."""

    def edit(folder):
        file = folder / path
        record = json.loads(file.read_text()) if file.is_file() else {}
        for key, value in changes.items():
            *parts, last = key.split("__")
            node = record
            for part in parts:
                node = node.setdefault(part, {})
            node[last] = value
        file.write_text(json.dumps(record))

    return edit


def state(path, change, part=None):
    """Other tensors in a file of torch's: of its parts, or of one."""

    def edit(folder):
        record = torch.load(folder / path)
        for name in [part] if part else record:
            change(record[name])
        torch.save(record, folder / path)

    return edit


def added(key, *shape):
    return lambda tensors: tensors.update({key: torch.zeros(shape)})


def other_norms(kind):
    """conv - norm - act with another norm."""

    def change(tensors):
        for key in [key for key in tensors if ".1." in key and "conv" in key]:
            norm = tensors.pop(key)
            if kind == "layernorm":
                tensors[key.replace(".weight", ".g").replace(".bias", ".b")] = norm[None, :, None]

    return change


def without(*starts):
    def change(tensors):
        for key in [key for key in tensors if key.startswith(starts)]:
            del tensors[key]

    return change


def both(*changes):
    return lambda tensors: [change(tensors) for change in changes]


SCHEDULER, UNET = "scheduler/scheduler_config.json", "unet/config.json"
DIFFUSION, CLASSIFIER = "diffusion_ckpt_latest.pt", "classifier_ckpt_latest.pt"
DIFFUSERS = [
    (said(SCHEDULER, beta_schedule="sigmoid"), "beta_schedule: found 'sigmoid', expected 'linear'"),
    (said(SCHEDULER, prediction_type="v_prediction"), "prediction_type: found 'v_prediction'"),
    (said(SCHEDULER, variance_type="learned_range"), "variance_type: found 'learned_range'"),
    (said(SCHEDULER, thresholding=True), "thresholding: found True, expected False"),
    (said(SCHEDULER, timestep_spacing="trailing"), "timestep_spacing: found 'trailing', expected 'leading'"),
    (said(SCHEDULER, steps_offset=1), "steps_offset: found 1, expected 0"),
    (said(SCHEDULER, trained_betas=[0.1] * 6), "trained_betas: found numbers, expected null"),
    (said(SCHEDULER, _class_name="DDIMScheduler"), "_class_name: found 'DDIMScheduler', expected 'DDPMScheduler'"),
    (said(UNET, time_embedding_type="fourier"), "time_embedding_type: found 'fourier', expected 'positional'"),
    (said(UNET, layers_per_block=2), "layers_per_block: found 2, expected 1"),
    (said(UNET, mid_block_type="UNetMidBlock1D"), "mid_block_type: found 'UNetMidBlock1D'"),
    (said(UNET, down_block_types=["DownBlock1D"] * 2), "down_block_types: expected DownResnetBlock1D for each of 2"),
    (said(UNET, act_fn="tanh"), "act: found 'tanh', expected one of mish"),
]
CLEAN = [
    (state(DIFFUSION, other_norms("layernorm")), r"its norms are layer norms, expected group norms \(norm_type\)"),
    (state(DIFFUSION, other_norms("none")), r"its norms are none, expected group norms \(norm_type\)"),
    (state(DIFFUSION, added("condition.mlp.0.weight", 3, 3)), "it has condition.mlp.0.weight beside diffusion.*"),
    (
        state(DIFFUSION, added("diffusion.map_noise.freqs", 8)),
        "its time embedding has map_noise.freqs, expected the posi",
    ),
    (state(CLASSIFIER, added("final_block.2.weight", 3, 4)), r"final_block.2.weight has shape \[3, 4\]"),
    (said("facts.json", sde__noise_schedule="linear"), "sde.noise_schedule: found 'linear', expected 'cosine'"),
    (said("facts.json", sde__class_="EDM"), "sde.class_: found 'EDM', expected 'DiscreteDiffusionSDE' or"),
    (said("facts.json", sde__x_max=[1.0, 1.0]), "sde.x_max: found .1.0, 1.0., expected a number"),
    (said("facts.json", sample__w_cfg=1.5), "sample.w_cfg: found 1.5, expected 0"),
    (said("facts.json", nn_diffusion__timestep_emb_type="fourier"), "nn_diffusion.timestep_emb_type: found 'fourier'"),
]
DECISION = [
    (state("checkpoint/state.pt", both(without("inv_model."), added("inv_model.state_embed.0.weight", 3, 3)), "ema"),
     r"its inverse dynamics draw their actions \(ar_inv\)"),
    (state("checkpoint/state.pt", both(without("model.downs."), added("model.mlp.0.weight", 3, 3)), "ema"),
     r"a diffusion of single actions \(MLPnet\)"),
    (said("facts.json", model__calc_energy=True), "model.calc_energy: found True, expected False"),
    (state("checkpoint/state.pt", without("inv_model.", "model.returns_mlp."), "ema"),
     "it has the original's keys, as a Decision Diffuser's without returns"),
]  # fmt: skip
LEROBOT = [
    (said("config.json", noise_scheduler_type="PNDM"), "scheduler: found PNDM, expected DDPM or DDIM"),
    (said("config.json", prediction_type="v_prediction"), "prediction_type: found 'v_prediction'"),
    (said("config.json", num_inference_steps=7), "n_steps: found 7, expected a whole number from 1 to 6"),
    (said("config.json", n_action_steps=8), "acting: its actions end beyond the horizon, 8"),
    (said("config.json", n_obs_steps=3), "its condition is 10 numbers, of 3 steps with 5 numbers of states each"),
    (said("config.json", horizon=7), "horizon: 7 is not a multiple of 2"),
    (said("config.json", use_film_scale_modulation=False), "its blocks are projected to 32 numbers, shifts alone"),
    (said("config.json", n_groups=7), "16 channels cannot be split into 7 groups"),
    (said("config.json", type="act"), "a lerobot policy of type act, expected diffusion"),
]
KUKA = [
    (
        state("model-650.pt", added("denoise_fn.downs.0.0.block1.block.0.weight", 3), "ema"),
        r"a network of images \(Unet\)",
    ),
]
MAKERS = {
    "diffusers": (relatives.diffusers, DIFFUSERS), "cleandiffuser": (relatives.cleandiffuser, CLEAN),
    "decision_diffuser": (relatives.decision_diffuser, DECISION), "kuka": (relatives.kuka, KUKA),
    "lerobot": (relatives_conditional.lerobot, LEROBOT),
}  # fmt: skip
CASES = [(name, *case) for name, (_, cases) in MAKERS.items() for case in cases]


@pytest.mark.parametrize(("name", "edit", "message"), CASES, ids=[f"{n}-{m[:40]}" for n, _, m in CASES])
def test_an_option_is_refused(name, edit, message, tmp_path):
    torch.set_grad_enabled(True)
    relative = MAKERS[name][0](tmp_path / "a")
    facts = relative.facts | (ACTIONS if name in ("diffusers", "cleandiffuser") else {})
    load(relative.folder, **facts)
    edit(relative.folder)
    with pytest.raises(ValueError, match=message) as refused:
        load(relative.folder, **facts)
    assert "\n" not in str(refused.value) and str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"solver": "sde_dpmsolver_1"}, "solver: found 'sde_dpmsolver_1', expected one of ddpm, ddim"),
        ({"prediction": "v"}, "prediction: found 'v', expected 'x0' or 'epsilon'"),
        ({"n_steps": 7}, "n_steps: found 7, expected a whole number from 1 to 6"),
        ({"horizon": 12}, "final_block.0.weight takes 24 numbers, expected 16 and those of 2 times, which horizon 12"),
        ({"clip_range": -1.0}, "clip_range: found -1.0, expected a positive number"),
        ({"scale": None}, "a classifier; pass scale=..., its w_cg"),
    ],
)
def test_a_fact_is_refused(facts, message, tmp_path):
    torch.set_grad_enabled(True)
    relative = relatives.cleandiffuser(tmp_path / "a")
    with pytest.raises(ValueError, match=message):
        load(relative.folder, **ACTIONS, **{**relative.facts, **facts})


@pytest.mark.parametrize("solver", ["ode_dpmsolver_1", "ode_dpmsolver++_1"])
def test_solvers_that_are_ddim_by_another_name(solver, tmp_path):
    torch.set_grad_enabled(True)
    relative = relatives.cleandiffuser(tmp_path / "a", solver="ddim")
    one, other = (load(relative.folder, **ACTIONS, **{**relative.facts, "solver": s}) for s in ("ddim", solver))
    assert one.sampling == other.sampling
