"""What changes after accelerate: weights, sampling arguments, preprocessing, statistics; what is set on the wrapper."""

import copy

import numpy as np
import pytest
import torch
from dropin.policies import both, close, given, guided, maze2d, normalizer, unguided
from oracle import variants
from oracle.diffusion import n_step_guided_p_sample
from oracle.draws import randomize
from oracle.networks import ValueFunction
from oracle.normalizers import CDFNormalizer, LimitsNormalizer
from oracle.policies import ValueGuide

import diffuser_fast as dfx
from diffuser_fast.dropin.watch import Watch

# What is drawn here need not lie inside the limits that it is normalised by.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")


def accelerated(policy, **options):
    return dfx.accelerate(policy, backend="reference", noise="torch", threads=1, **options)


def agree(ours, policy, *, than=None):
    """The same plans, two at a time; and others ``than`` these."""
    (_, plans, _), (_, wanted, _) = both(policy, 2, ours=ours)
    close(plans.observations, wanted.observations)
    close(plans.actions, wanted.actions)
    if than is not None:
        assert np.abs(np.asarray(plans.observations) - than).max() > 1e-2, "the change must show"
    return plans.observations


# --------------------------------------------------------------------------------------------------------- weights


def optimizer_step(module):
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for parameter in module.parameters():
        parameter.requires_grad_()
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def loaded(module, **options):
    module.load_state_dict({key: 1.5 * value for key, value in module.state_dict().items()}, **options)


def averaged(module):
    """The original's moving average: it gives a parameter other data, which torch does not count."""
    for _ in range(2):  # twice: the second may get the memory of the first
        for parameter in module.parameters():
            parameter.data = parameter.data * 1.2


def averaged_in_place(module):
    """Most others': through .data, which torch does not count either."""
    for parameter in module.parameters():
        parameter.data.mul_(1.2).add_(0.01)


CHANGES = {
    "an optimizer": optimizer_step,
    "load_state_dict": loaded,
    "load_state_dict, assigned": lambda module: loaded(module, assign=True),
    "a moving average": averaged,
    "a moving average in place": averaged_in_place,
    "an initialisation": lambda module: randomize(module, 99, torch.float32),
    "another layer": lambda module: setattr(module, "time_mlp", randomize(copy.deepcopy(module.time_mlp), 7)),
}


@pytest.mark.parametrize("which", ["denoiser", "value"])
@pytest.mark.parametrize("change", CHANGES)
def test_new_weights_are_read(change, which):
    policy = guided(scale=3.0)
    ours = accelerated(policy)
    before = agree(ours, policy)
    planner = ours.planner
    assert ours.planner is planner, "nothing is read again while nothing changes"
    module = policy.diffusion_model.model if which == "denoiser" else policy.guide.model.model
    CHANGES[change](module)
    module.float()
    agree(ours, policy, than=before if which == "denoiser" else None)
    assert ours.planner is not planner


def test_a_single_number_is_enough():
    policy = guided()
    ours = accelerated(policy)
    planner = ours.planner
    policy.diffusion_model.model.final_conv[1].bias[3] += 1.0
    assert ours.planner is not planner
    agree(ours, policy)


def test_other_buffers_other_networks_and_other_guides():
    policy = guided(scale=3.0)
    ours = accelerated(policy)
    before = agree(ours, policy)
    policy.diffusion_model.posterior_mean_coef2 = policy.diffusion_model.posterior_mean_coef2 * 0.5
    before = agree(ours, policy, than=before)
    other = guided()
    randomize(other.diffusion_model.model, 55, torch.float32)
    policy.diffusion_model.model = other.diffusion_model.model
    before = agree(ours, policy, than=before)
    value = randomize(ValueFunction(8, 6, 4, dim=16, dim_mults=(1, 8)), 56, torch.float32)
    ours.guide = ValueGuide(value)
    assert policy.guide.model is value
    agree(ours, policy)
    policy.diffusion_model = other.diffusion_model
    agree(ours, policy)


def test_other_modules_are_compared_again():
    policy = guided()
    ours = accelerated(policy)
    plans = ours.planner
    policy.diffusion_model.model.mid_block1 = variants.with_silu(copy.deepcopy(policy.diffusion_model.model.mid_block1))
    for _ in range(2):  # a refusal is not forgotten
        with pytest.raises(ValueError, match="policy: it plans otherwise than the original"):
            ours(given(policy))
    policy.guide = variants.NegatedGuide(policy.guide.model)
    with pytest.raises(ValueError, match=r"its guide has forward\(\) of its own"):
        ours(given(policy))
    assert plans is ours.__dict__["_planner"]


def test_refresh_reads_what_cannot_be_seen():
    policy = guided()
    ours = accelerated(policy)
    weight = policy.diffusion_model.model.final_conv[1].weight
    weight.data[0, 0] += 5.0  # a few numbers, past torch's count
    planner = ours.planner
    ours.refresh()
    assert ours.planner is not planner
    agree(ours, policy)


def test_only_what_is_needed_is_looked_at():
    """Tensors of inference mode have no count, empty ones and None no memory."""
    with torch.inference_mode():
        module = torch.nn.Linear(3, 2)
    module.register_buffer("nothing", None)
    module.register_buffer("empty", torch.zeros(0))
    module.register_buffer("one", torch.ones(()))
    watch = Watch([module])
    assert not watch.changed()
    with torch.inference_mode():
        module.weight.mul_(2)
    assert watch.changed()
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Identity())
    watch = Watch([module])
    module[1] = torch.nn.ReLU()
    assert watch.changed() and Watch([module]).rebuilt(watch)
    module.append(torch.nn.Linear(2, 2))
    assert watch.changed()


def test_noise_goes_on_where_it_was():
    """New weights do not begin the noise anew: the next plan is the next number of the seed."""
    policy = guided(scale=0.0)
    ours, other = (dfx.accelerate(policy, backend="reference", seed=3) for _ in range(2))
    first = ours(given(policy))[1].actions
    ours.refresh()
    second = ours(given(policy))[1].actions
    np.testing.assert_array_equal(other(given(policy))[1].actions, first)
    np.testing.assert_array_equal(other(given(policy))[1].actions, second)
    assert not np.array_equal(first, second) and ours.planner.number == 2 and ours.planner.seed == 3


# ---------------------------------------------------------------------------------------------- sampling arguments


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 4.0}, {"scale": np.float32(3.0)}, {"scale": torch.tensor(3.0)}, {"n_guide_steps": np.int64(6)},
        {"t_stopgrad": 5}, {"t_stopgrad": 4.5}, {"scale_grad_by_std": False}, {"horizon": 12},
    ],
)  # fmt: skip
@pytest.mark.parametrize("through", ["policy", "wrapper"])
def test_sampling_arguments_are_read_at_every_call(change, through):
    policy = guided(scale=2.0)
    ours = accelerated(policy)
    agree(ours, policy)
    (policy if through == "policy" else ours).sample_kwargs.update(change)
    plans = agree(ours, policy)
    assert plans.shape[1] == change.get("horizon", 8)
    ours.sample_kwargs = {"sample_fn": n_step_guided_p_sample, "scale": 0.5}
    agree(ours, policy)


def test_a_sweep_is_compared_once():
    policy, runs = guided(scale=0.5), []
    call = policy.diffusion_model.forward
    policy.diffusion_model.forward = lambda *args, **kwargs: runs.append(1) or call(*args, **kwargs)
    ours = accelerated(policy)
    for scale in (0.1, 0.7, -1.0, 4.9, 0.0):
        policy.sample_kwargs["scale"] = scale
        ours(given(policy))
    assert len(runs) == 1
    policy.sample_kwargs["scale"] = 6.0  # too strong to be vouched for: 4.9 was not compared itself
    ours(given(policy))
    assert len(runs) == 2


def test_a_step_of_ones_own_is_refused_later_too():
    policy = guided()
    ours = accelerated(policy)
    policy.sample_kwargs["sample_fn"] = variants.edited_step
    with pytest.raises(ValueError, match="plans otherwise than the original"):
        ours(given(policy))
    policy.sample_kwargs["sample_fn"] = lambda *args, **kwargs: None
    with pytest.raises(ValueError, match="a step of your own"):
        ours(given(policy))
    policy.sample_kwargs["sample_fn"] = variants.locomotion_step
    agree(ours, policy)


@pytest.mark.parametrize("name", ["clip_denoised", "predict_epsilon"])
def test_what_is_set_on_the_diffusion(name):
    policy = unguided()
    ours = accelerated(policy)
    before = agree(ours, policy)
    setattr(policy.diffusion_model, name, True)
    if name == "clip_denoised":
        policy.diffusion_model.model.final_conv[1].bias += 1.0  # so that there is something to clip
    agree(ours, policy, than=before)
    policy.diffusion_model.n_timesteps = 3
    with pytest.raises(ValueError, match="policy: its n_timesteps is 3, its buffers are for 6 steps"):
        ours(given(policy))


# ----------------------------------------------------------------------------------- statistics and preprocessing


@pytest.mark.parametrize("make", [guided, maze2d])
def test_statistics(make):
    policy = make()
    ours = accelerated(policy)
    before = agree(ours, policy)
    for one in policy.normalizer.normalizers.values():
        for name in vars(one):
            getattr(one, name)[...] *= 1.5  # in place
    before = agree(ours, policy, than=before)
    ours.normalizer = normalizer(CDFNormalizer)
    assert policy.normalizer is ours.normalizer
    before = agree(ours, policy, than=before)
    policy.normalizer.normalizers["observations"] = normalizer(LimitsNormalizer).normalizers["observations"]
    agree(ours, policy, than=before)


def test_preprocessing_is_looked_up_at_every_call():
    policy = guided()
    ours = accelerated(policy)
    before = agree(ours, policy)
    policy.preprocess_fn = lambda obs: obs + 2.0
    before = agree(ours, policy, than=before)
    ours.preprocess_fn = lambda obs: obs - 2.0
    agree(ours, policy, than=before)


def test_what_is_set_on_the_wrapper_is_the_policys():
    policy = guided()
    ours = accelerated(policy)
    ours.note, ours._private = "mine", 3
    assert policy.note == "mine" and policy._private == 3
    del ours.note
    assert not hasattr(policy, "note") and not hasattr(ours, "note")
    for name in ("planner", "policy"):
        with pytest.raises(AttributeError, match=f"{name}: cannot be assigned"):
            setattr(ours, name, None)
