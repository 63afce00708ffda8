"""The losses against loops written out, and the trained network against the oracle's."""

import numpy as np
import torch

from diffuser_fast.core.schedule import cosine
from diffuser_fast.core.spec import UNetSpec, ValueSpec
from diffuser_fast.train.losses import loss_weights, noised, planner_loss, value_loss, with_conditions
from diffuser_fast.train.module import TrajectoryNetwork
from diffuser_fast.train.recipe import Recipe

RECIPE = Recipe(horizon=8, action_weight=10.0, loss_discount=0.9, n_timesteps=6)


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(3, 8, 6, generator=g), torch.tensor([0, 3, 5]), torch.randn(3, 8, 6, generator=g)


def test_weights_discount_and_first_action():
    weights = loss_weights(RECIPE, 6, 2)
    expected = 0.9 ** np.arange(8)
    expected /= expected.mean()
    np.testing.assert_allclose(weights[:, 3], expected, rtol=1e-6)
    assert (weights[0, :2] == 10).all() and weights[1, 0] == weights[1, 3]


def test_noised_at_each_step():
    x0, t, noise = batch()
    abar = torch.tensor(cosine(6).alphas_cumprod, dtype=torch.float32)
    x = noised(x0, t, noise, abar)
    for b in range(3):
        a = cosine(6).alphas_cumprod[t[b]]
        np.testing.assert_allclose(x[b], np.sqrt(a) * x0[b] + np.sqrt(1 - a) * noise[b], rtol=1e-5, atol=1e-6)


def test_conditions_hold_in_input_and_prediction():
    """The network sees the clean ends; an error of its prediction there costs nothing."""
    x0, t, noise = batch()
    abar = torch.tensor(cosine(6).alphas_cumprod, dtype=torch.float32)
    seen = []

    def net(x, t):
        seen.append(x)
        wrong = x0.clone()
        wrong[:, 0, 2:] += 7  # given
        wrong[:, -1, 2:] += 7  # given
        wrong[:, 3, 4] += 1  # not given
        return wrong

    weights = loss_weights(RECIPE, 6, 2)
    loss = planner_loss(net, x0, t, noise, recipe=RECIPE, action_dim=2, alphas_cumprod=abar, weights=weights)
    assert torch.equal(seen[0][:, 0, 2:], x0[:, 0, 2:]) and torch.equal(seen[0][:, -1, 2:], x0[:, -1, 2:])
    assert not torch.equal(seen[0][:, 0, :2], x0[:, 0, :2])  # actions are never given
    assert float(loss) == float(weights[3, 4] * 3 / x0.numel())


def test_epsilon_prediction_targets_the_noise():
    x0, t, noise = batch()
    recipe = Recipe(**{**RECIPE.to_json(), "prediction": "epsilon", "conditions": "first"})
    abar = torch.tensor(cosine(6).alphas_cumprod, dtype=torch.float32)
    loss = planner_loss(
        lambda x, t: noise,
        x0,
        t,
        noise,
        recipe=recipe,
        action_dim=2,
        alphas_cumprod=abar,
        weights=torch.ones(8, 6),
    )
    # Only the clamped first observation differs from the noise.
    assert float(loss) == float(((x0[:, 0, 2:] - noise[:, 0, 2:]) ** 2).sum() / x0.numel())


def test_value_loss():
    x0, t, noise = batch()
    abar = torch.tensor(cosine(6).alphas_cumprod, dtype=torch.float32)
    returns = torch.tensor([1.0, 2.0, 4.0])
    loss = value_loss(
        lambda x, t: torch.zeros(3), x0, t, noise, returns, recipe=RECIPE, action_dim=2, alphas_cumprod=abar
    )
    assert float(loss) == 7.0
    given = with_conditions(noise, x0, 2, "first")
    assert torch.equal(given[:, 0, 2:], x0[:, 0, 2:]) and torch.equal(given[:, -1], noise[:, -1])
    always = with_conditions(noise, x0, 2, "first", 1)
    assert torch.equal(always[..., -1], x0[..., -1]) and torch.equal(always[:, 1:, :-1], noise[:, 1:, :-1])


def test_module_is_the_oracle_and_every_weight_learns():
    """Weights through the module give the oracle's output; every parameter gets a gradient."""
    import oracle.networks as oracle

    from diffuser_fast.formats import janner_keys

    theirs = oracle.TemporalUnet(horizon=16, transition_dim=6, cond_dim=4, dim=8, dim_mults=(1, 2, 4), attention=True)
    state = {f"model.{k}": v.detach().numpy() for k, v in theirs.state_dict().items()}
    weights = janner_keys.unet_weights(janner_keys.split(state)[0], 16)
    net = TrajectoryNetwork(UNetSpec(16, 6, dim=8, dim_mults=(1, 2, 4), attention=True))
    net.load(weights.arrays)
    x, t = torch.randn(3, 16, 6), torch.tensor([0, 7, 19])
    y = net(x, t)
    torch.testing.assert_close(y, theirs(x, None, t), rtol=1e-5, atol=1e-5)
    y.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert {n: a.shape for n, a in net.weights().arrays.items()} == {n: a.shape for n, a in weights.arrays.items()}


def test_initial_weights_are_torchs():
    """Uniform in +-1/sqrt(fan_in), as Conv1d and Linear are; norms start as the identity."""
    net = TrajectoryNetwork(ValueSpec(8, 6, dim=16, dim_mults=(1, 2)))
    arrays = net.weights().arrays
    w = arrays["down1.block0.first.conv.weight"]
    bound = (w.shape[1] * w.shape[2]) ** -0.5
    assert 0.95 * bound < np.abs(w).max() <= bound
    assert (arrays["down1.block0.first.norm.weight"] == 1).all() and (arrays["down1.block0.first.norm.bias"] == 0).all()


def test_gradients_in_bfloat16_are_those_in_float32_but_for_rounding():
    """Also at the narrow end of a value network, where most taps of a convolution meet padding only."""
    torch.manual_seed(0)
    net = TrajectoryNetwork(ValueSpec(4, 6, dim=32, dim_mults=(1, 4, 8)))
    x, t = torch.randn(8, 4, 6), torch.randint(5, (8,))
    grads = {}
    for narrow in (False, True):
        for _ in range(4):
            net.zero_grad()
            waste = [torch.full((1 << 16,), 1e30) for _ in range(8)]  # whatever is left uninitialised shall be seen
            del waste
            with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
                loss = net(x, t).float().square().mean()
            loss.backward()
            found = {name: p.grad.clone() for name, p in net.named_parameters()}
            assert all(torch.isfinite(g).all() for g in found.values())
            grads.setdefault(narrow, []).append(found)
    wanted = torch.cat([g.flatten() for g in grads[False][0].values()])
    for found in grads[True]:
        # Rounding to eight bits turns the gradient by some degrees; what is left uninitialised turns it anywhere.
        assert float(torch.cosine_similarity(torch.cat([g.flatten() for g in found.values()]), wanted, dim=0)) > 0.9
