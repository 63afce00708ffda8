"""Code behind an object that is not the original's: seen at accelerate, and whenever it is put there later."""

import copy
import gc
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from dropin.policies import both, close, given, guided, maze2d
from oracle import relative_objects as relatives
from oracle import variants
from oracle.diffusion import GaussianDiffusion
from oracle.normalizers import DatasetNormalizer, GaussianNormalizer
from oracle.policies import GuidedPolicy, ValueGuide

import diffuser_fast as dfx
from diffuser_fast.dropin.ways import Form

# What is drawn here need not lie inside the limits that it is normalised by.
pytestmark = pytest.mark.filterwarnings("ignore:.*beyond the data's limits")
OTHERWISE = "policy: it plans otherwise than the original"
OWN = "of its own|hooks|otherwise"


def accelerated(policy, **options):
    return dfx.accelerate(policy, backend="reference", noise="torch", threads=1, **options)


# ---------------------------------------------------------------------------- what only several plans, or a goal, show


class Averaging(GuidedPolicy):
    def __call__(self, conditions, batch_size=1, verbose=True):
        _, plans = super().__call__(conditions, batch_size, verbose)
        return plans.actions[:, 0].mean(0), plans


class Worst(GuidedPolicy):
    def __call__(self, conditions, batch_size=1, verbose=True):
        _, plans = super().__call__(conditions, batch_size, verbose)
        return plans.actions[-1, 0], plans


class OnlyNow(GuidedPolicy):
    def __call__(self, conditions, batch_size=1, verbose=True):
        return super().__call__({0: conditions[0]}, batch_size, verbose)


class HalfwayGoal(GuidedPolicy):
    def _format_conditions(self, conditions, batch_size):
        cond = super()._format_conditions(conditions, batch_size)
        return {t: obs if t == 0 else 0.5 * obs for t, obs in cond.items()}


class Unsorted(GaussianDiffusion):
    def p_sample_loop(self, *args, **kwargs):
        found = super().p_sample_loop(*args, **kwargs)
        return found._replace(trajectories=found.trajectories.flip(0))


class MeanOfAll(relatives.DiscreteDiffusionSDE):
    def sample(self, *args, **kwargs):
        x, log = super().sample(*args, **kwargs)
        return x.mean(0, keepdim=True).expand_as(x), log


def of_class(make, cls, part=None):
    subject = make()
    (subject if part is None else getattr(subject, part)).__class__ = cls
    return subject


SEVERAL = {
    "the mean of candidates": lambda: of_class(guided, Averaging),
    "the worst candidate": lambda: of_class(guided, Worst),
    "no goal": lambda: of_class(guided, OnlyNow),
    "another goal": lambda: of_class(guided, HalfwayGoal),
    "another order": lambda: of_class(guided, Unsorted, "diffusion_model"),
    "another order of a bare diffusion": lambda: of_class(guided, Unsorted, "diffusion_model").diffusion_model,
    "the mean of an agent's": lambda: of_class(relatives.agent, MeanOfAll),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_what_shows_in_several_plans_or_with_a_goal(name):
    with pytest.raises(ValueError, match=OTHERWISE):
        dfx.accelerate(SEVERAL[name](), threads=1)


def test_ones_own_conditions_may_be_all_that_is_compared():
    policy = of_class(guided, OnlyNow)
    first = {0: given(policy)[0]}
    found = both(policy, 2, conditions=first, ours=accelerated(policy, check=first))
    close(found[0][1].observations, found[1][1].observations)


# ------------------------------------------------------------------------------------------ put there after accelerate


def halved(module, arguments, output):
    return 0.5 * output


class Doubling(GaussianNormalizer):
    def unnormalize(self, x):
        return 2.0 * super().unnormalize(x)


class DoublingAll(DatasetNormalizer):
    def unnormalize(self, x, key):
        return 2.0 * super().unnormalize(x, key)


def on(part, name, make):
    """Puts a function in the place of a method."""

    def change(policy):
        one = part(policy)
        setattr(one, name, make(getattr(one, name)))

    return change


def a_module(policy, kind):
    return next(m for m in policy.diffusion_model.model.modules() if type(m).__name__ == kind)


def a_setting(kind, **values):
    def change(policy):
        for module in policy.diffusion_model.model.modules():
            if type(module).__name__ == kind:
                vars(module).update(values)

    return change


def wide_taps(policy):
    conv = next(m for m in policy.diffusion_model.model.modules() if type(m).__name__ == "Conv1d" and m.padding == (2,))
    conv.dilation, conv.padding = (2,), (4,)


LATER = {
    "a hook": lambda p: p.diffusion_model.model.register_forward_hook(halved),
    "a hook on a layer": lambda p: a_module(p, "Conv1d").register_forward_hook(lambda m, a, y: y.relu()),
    "a hook on the value network": lambda p: p.guide.model.model.register_forward_hook(halved),
    "p_sample": on(lambda p: p.diffusion_model, "p_sample", lambda own: lambda *a, **k: 0.5 * own(*a, **k)),
    "p_sample_loop": on(
        lambda p: p.diffusion_model, "p_sample_loop",
        lambda own: lambda *a, **k: own(*a, **k)._replace(trajectories=0.5 * own(*a, **k).trajectories),
    ),
    "_format_conditions": on(
        lambda p: p, "_format_conditions", lambda own: lambda c, b: {t: 0.5 * obs for t, obs in own(c, b).items()}
    ),
    "gradients": on(lambda p: p.guide, "gradients", lambda own: lambda *a: (own(*a)[0], -own(*a)[1])),
    "forward of the guide": on(lambda p: p.guide, "forward", lambda own: lambda *a: -own(*a)),
    "forward of an activation": on(lambda p: a_module(p, "Mish"), "forward", lambda own: lambda x: x),
    "the diffusion's class": lambda p: setattr(p.diffusion_model, "__class__", variants.CautiousDiffusion),
    "the policy's class": lambda p: setattr(p, "__class__", variants.RoundingPolicy),
    "a normaliser's class": lambda p: setattr(p.normalizer.normalizers["actions"], "__class__", Doubling),
    "the normalisers' class": lambda p: setattr(p.normalizer, "__class__", DoublingAll),
    "eps of the norms": a_setting("GroupNorm", eps=1.0),
    "the taps of a convolution": wide_taps,
}  # fmt: skip


@pytest.mark.parametrize("refreshed", [False, True])
@pytest.mark.parametrize("name", LATER)
def test_what_is_put_there_later_is_compared(name, refreshed):
    policy = guided()
    ours = accelerated(policy)
    ours(given(policy))
    LATER[name](policy)
    for _ in range(2):  # a refusal is not forgotten
        with pytest.raises(ValueError, match=OWN):
            ours.refresh() if refreshed else ours(given(policy))


@pytest.mark.parametrize("change", [a_setting("GroupNorm", num_groups=4)])
def test_a_setting_that_is_read_is_read_again(change):
    policy = guided()
    ours = accelerated(policy)
    change(policy)
    (_, plans, _), (_, wanted, _) = both(policy, 2, ours=ours)
    close(plans.observations, wanted.observations)


def test_what_only_looks_on_is_taken():
    policy, seen = guided(), []
    ours = accelerated(policy)
    handle = policy.diffusion_model.model.register_forward_hook(lambda *_: seen.append(1))
    (_, plans, _), (_, wanted, _) = both(policy, 2, ours=ours)
    close(plans.observations, wanted.observations)
    planner = ours.planner
    policy.diffusion_model.train()  # nothing drops out
    assert ours.planner is planner and seen
    handle.remove()
    ours(given(policy))


@pytest.mark.parametrize("put", [
    on(lambda p: p.guide, "forward", lambda own: lambda x, c, t: own(x, c, t) - (x - 50).relu().sum(dim=(1, 2))),
    on(lambda p: p.guide, "gradients", lambda own: lambda *a: own(*a)),
    lambda p: p.guide.register_forward_hook(halved),
    lambda p: p.guide.model.model.register_forward_hook(lambda m, a, y: y - (a[0] - 50).relu().sum((1, 2))[:, None]),
])  # fmt: skip
def test_what_is_put_on_a_guide_is_seen_at_once(put):
    """One comparison cannot vouch for it: a cost may be zero far from its obstacle."""
    policy = guided()
    put(policy)
    with pytest.raises(
        ValueError, match=r"its guide has (\w+\(\) of its own, set on the object|hooks \(forward_hooks\))"
    ):
        dfx.accelerate(policy, backend="reference")


# --------------------------------------------------------------------------------------------- a guide that was silent


def silent(policy):
    """Its value network says zero of everything; the weights that said more."""
    network = policy.guide.model.model
    weights = copy.deepcopy(network.state_dict())
    last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_(), last.bias.zero_()
    return network, weights


def test_weights_that_come_later_are_compared_where_the_guide_was_silent():
    policy = guided(sample_fn=variants.locomotion_step)
    network, weights = silent(policy)
    ours = accelerated(policy)
    assert ours.planner.checkpoint.guide.variance_power == 1.0
    network.load_state_dict(weights)
    (_, plans, _), (_, wanted, _) = both(policy, 2, ours=ours)
    close(plans.observations, wanted.observations)
    assert ours.planner.checkpoint.guide.variance_power == 0.5
    policy = guided(sample_fn=variants.edited_step)
    network, weights = silent(policy)
    ours = accelerated(policy)
    network.load_state_dict(weights)
    with pytest.raises(ValueError, match=OTHERWISE):
        ours(given(policy))


# ------------------------------------------------------------------------------------------------------- the relatives


class HalfStep(relatives.DDPMScheduler):
    def step(self, out, t, x):
        return 0.5 * super().step(out, t, x)


HalfStep.__name__ = "DDPMScheduler"


def asked_of(subject):
    """A call of it."""
    if isinstance(subject, relatives.ValueGuidedRLPipeline):
        return lambda s: s(np.float32([0.5, -0.3, 1.2, 0.1]), batch_size=3, planning_horizon=8)
    if isinstance(subject, relatives.DiffusionUnetLowdimPolicy):
        return lambda s: s.predict_action({"obs": torch.full((2, 2, 3), 0.3)})
    if isinstance(subject, relatives.DiffusionPolicy):
        batch = {
            name: torch.full((1, n), 0.3)
            for name, n in (("observation.state", 3), ("observation.environment_state", 2))
        }
        return lambda s: (s.reset(), s.select_action(batch))
    if isinstance(subject, relatives.GaussianInvDynDiffusion):
        return lambda s: s({0: torch.full((1, subject.observation_dim), 0.3)}, returns=torch.tensor([[0.9]]))
    return lambda s: s.sample(torch.full((2, 8, 6), 0.3), n_samples=2, sample_steps=5, w_cg=0.1)


def other_scheduler(name):
    def change(subject):
        part = getattr(subject, "diffusion", subject)
        setattr(part, name, HalfStep(getattr(part, name).s))

    return change


RELATIVES = {
    "a pipeline's scheduler": (relatives.pipeline, other_scheduler("scheduler"), OTHERWISE),
    "a pipeline's timesteps": (
        relatives.pipeline, lambda p: setattr(p.scheduler, "timesteps", torch.tensor([4, 2, 0])),
        r"its scheduler's timesteps are \[4, 2, 0\], expected those of training, 4 to 0; scheduler.set_timesteps\(5\)",
    ),
    "a policy's scheduler": (relatives.lowdim_policy, other_scheduler("noise_scheduler"), OTHERWISE),
    "lerobot's scheduler": (relatives.lerobot_policy, other_scheduler("noise_scheduler"), OTHERWISE),
    "lerobot's sampling": (
        relatives.lerobot_policy,
        on(lambda p: p.diffusion, "conditional_sample", lambda own: lambda *a, **k: 0.5 * own(*a, **k)), OTHERWISE,
    ),
    "an agent's class": (relatives.agent, lambda a: setattr(a, "__class__", MeanOfAll), OTHERWISE),
    "a hook of a diffusion's": (
        relatives.decision_diffusion, lambda d: d.model.register_forward_hook(halved), OTHERWISE
    ),
    "n_timesteps of a diffusion": (
        relatives.decision_diffusion, lambda d: setattr(d, "n_timesteps", 3), "its n_timesteps is 3, its buffers"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RELATIVES)
def test_of_relatives_too(name):
    make, change, sentence = RELATIVES[name]
    subject = make()
    ours, call = dfx.accelerate(subject, threads=1), asked_of(subject)
    call(ours)
    change(subject)
    for _ in range(2):
        with pytest.raises(ValueError, match=sentence):
            call(ours)


def test_another_kind_of_scheduler_is_read():
    subject = relatives.lowdim_policy(n_steps=3, n_train=12)
    ours, call = dfx.accelerate(subject, noise="torch", threads=1), asked_of(subject)
    call(ours)
    subject.noise_scheduler = relatives.lowdim_policy(ddim=True, n_steps=3, n_train=12).noise_scheduler
    results = []
    for one in (ours, subject):
        torch.manual_seed(3)
        results.append(call(one)["action_pred"])
    close(results[0], results[1].detach())


# -------------------------------------------------------------------------------------- what .data writes, and threads


@pytest.mark.parametrize("write", [
    lambda p: p.diffusion_model.model.final_conv[1].bias.data[0].add_(1.0),
    lambda p: p.diffusion_model.model.final_conv[1].weight.data[0].zero_(),
    lambda p: p.diffusion_model.posterior_mean_coef1.data[0].fill_(0.5),
    lambda p: [w.data[: len(w) // 4].zero_() for w in p.diffusion_model.parameters() if w.ndim == 3],
    lambda p: p.diffusion_model.model.final_conv[1].weight.detach().numpy()[:2].fill(0.0),
])  # fmt: skip
def test_what_is_written_past_torchs_count_is_seen_on_a_cpu(write):
    policy = guided()
    ours = accelerated(policy)
    planner = ours.planner
    write(policy)
    assert ours.planner is not planner
    (_, plans, _), (_, wanted, _) = both(policy, 2, ours=ours)
    close(plans.observations, wanted.observations)


@pytest.fixture
def hurried():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_one_thread_at_a_time(hurried):
    policy = guided()
    ours = dfx.accelerate(policy.diffusion_model, backend="cpu", threads=1, guide=policy.guide, check=False)
    wrong, refused = [], []

    def ask(horizon):
        for _ in range(40):
            try:
                found = ours({0: torch.zeros(1, 4)}, horizon=horizon).trajectories.shape[1]
            except dfx.BusyError as error:
                refused.append(str(error))
                continue
            if found != horizon:
                wrong.append((found, horizon))

    threads = [threading.Thread(target=ask, args=(horizon,)) for horizon in (8, 12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong and all(said.startswith("policy: another thread is planning with it") for said in refused)
    copies = [copy.deepcopy(ours) for _ in range(2)]
    assert [one({0: torch.zeros(1, 4)}, horizon=h).trajectories.shape[1] for one, h in zip(copies, (8, 12))] == [8, 12]


def test_what_was_replaced_is_let_go():
    policy, gone = guided(), []
    ours = accelerated(policy)
    for _ in range(4):
        before = policy.diffusion_model
        gone.append(weakref.ref(before))
        policy.diffusion_model = copy.deepcopy(before)
        ours(given(policy))
        del before
    gc.collect()
    assert not any(one() is not None for one in gone)


# --------------------------------------------------------------------------------------------------- calls and options


def test_the_maze2d_branchs_own_signature():
    diffusion = maze2d().diffusion_model
    ours = dfx.accelerate(diffusion, backend="cpu", threads=1, noise="torch")
    cond = {0: torch.full((2, 4), 0.3)}
    for args, kwargs in (((), {"return_diffusion": True}), ((False, True), {}), ((False,), {}), ((), {"horizon": 12})):
        results = []
        for one in (ours, diffusion):
            torch.manual_seed(5)
            found = one(cond, *args, **kwargs)
            results.append(found if isinstance(found, tuple) else (found,))
        assert len(results[0]) == len(results[1])
        for mine, theirs in zip(*results, strict=True):
            close(mine, theirs)
    with pytest.raises(TypeError, match="found 4 positional arguments, expected cond, verbose, return_diffusion"):
        ours(cond, 1, 2, 3)


@pytest.mark.parametrize("option", [{"warm_start": 2}, {"horizon": 8}])
def test_options_that_calls_have_no_place_for(option):
    with pytest.raises(ValueError, match=rf"{next(iter(option))}: .*the object"):
        dfx.accelerate(guided(), **option)


def test_a_cost_of_ones_own_is_no_difference():
    cost = dfx.Cost.keep_out((0.0, 0.0), 0.5, weight=10.0)
    policy = guided()
    ours = dfx.accelerate(policy, backend="cpu", threads=1, cost=cost)
    plain = dfx.accelerate(policy, backend="cpu", threads=1)
    assert not np.array_equal(ours(given(policy))[0], plain(given(policy))[0])
    with pytest.raises(ValueError, match=OTHERWISE):
        dfx.accelerate(guided(sample_fn=variants.edited_step), backend="cpu", threads=1, cost=cost)


def test_a_form_tells_what_computes_otherwise():
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 2, 3), torch.nn.Mish())
    form = Form(list(module.modules()))
    module.train(False)
    assert not form.changed() and form == Form(list(module.modules()))
    module[0].stride = np.array([1, 2])  # which no == compares
    assert form.changed()
    module[0].stride = (1,)
    assert not form.changed()
    del module[0].stride
    assert form.changed()


def test_classes_derived_from_the_originals_are_taken_where_they_do_the_same():
    class Mine(GuidedPolicy):
        pass

    class Guide(ValueGuide):
        pass

    policy = of_class(guided, Mine)
    policy.guide.__class__ = Guide
    (action, _, _), (wanted, _, _) = both(policy, 2)
    close(action, wanted)
