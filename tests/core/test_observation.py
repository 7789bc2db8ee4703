"""What one forward pass shows of a network, against values worked out by hand."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

import reluscope as rs
from reluscope.errors import ObservationError, UnknownNameError
from reluscope.observation import affine, observe
from reluscope.preserve import preserved


def seeded(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return model


def draw(*shape, seed=1, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Reused(nn.Module):
    """One ReLU, in place, three times, and a functional one."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(4)])
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        for layer in self.layers[:3]:
            x = self.act(layer(x))
        return F.relu_(self.layers[3](x))


def test_a_module_used_thrice_in_place():
    model, x = seeded(Reused()), draw(5, 4)
    observation = observe(model, x)
    assert observation.sites == ("act#0", "act#1", "act#2", "relu#0")
    h = x
    with torch.no_grad():
        for layer, site in zip(model.layers, observation.sites, strict=True):
            z = F.linear(h, layer.weight, layer.bias)
            assert torch.equal(observation.preactivation[site], z)
            assert torch.equal(observation.pattern[site], z > 0)
            assert bool((z < 0).any()), "the case is too easy"
            h = z.clamp(min=0)
    assert torch.equal(observation.output, h)


def test_what_is_seen_is_a_copy():
    seen = []

    class Spoils(nn.Module):
        def forward(self, x):
            z = x * 2
            seen.append(z)
            y = torch.relu(z)
            z.fill_(99.0)
            return y

    x = draw(3, 2)
    observation = observe(Spoils(), x)
    assert torch.equal(observation.preactivation["relu#0"], x * 2)
    seen[0].fill_(5.0)
    observation.output.zero_()
    assert torch.equal(observation.preactivation["relu#0"], x * 2)
    assert not observation.preactivation["relu#0"].requires_grad


def test_an_input_written_into_is_left_alone():
    x = draw(3, 2)
    kept = x.clone()
    for graph in (False, True):
        observation = observe(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(2, 2)), x, affine=graph)
        assert torch.equal(x, kept)
        assert observation.input is x
        assert torch.equal(observation.preactivation["0#0"], kept)


def test_names_count_calls_by_label():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x):
            return F.relu(F.gelu(self.act(x)))

    shared = nn.ReLU()
    model = nn.Sequential(Block(), shared, nn.Sequential(shared, Block()))
    observation = observe(model, draw(2, 3))
    assert observation.sites == ("0.act#0", "0#0", "0#1", "1#0", "1#1", "2.1.act#0", "2.1#0", "2.1#1")
    assert [observation.site[name].activation for name in observation.sites[:3]] == ["relu", "gelu", "relu"]


def test_a_convolution_has_channels_for_units():
    model = seeded(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4 * 2, 7), nn.ReLU()))
    x = draw(2, 3, 6, 4)
    observation = observe(model, x)
    conv, dense = (observation.site[name] for name in observation.sites)
    assert (conv.units, conv.positions) == (5, 8)
    assert (dense.units, dense.positions) == (7, 1)
    z = F.conv2d(x, model[0].weight, model[0].bias).detach()
    rows = torch.stack([z[n, :, i, j] for n in range(2) for i in range(4) for j in range(2)])
    assert torch.equal(observation.preactivation["1#0"], rows)
    assert torch.equal(observation.pattern["1#0"], rows > 0)


LAYOUTS = {
    "conv1d": (nn.Conv1d(4, 6, 1), (3, 4, 5), 1),
    "conv3d": (nn.Conv3d(4, 6, 1), (3, 4, 2, 2, 2), 1),
    "batch norm of a sequence": (nn.Sequential(nn.Conv1d(4, 6, 1), nn.BatchNorm1d(6)), (3, 4, 5), 1),
    "group norm": (nn.Sequential(nn.Conv1d(4, 6, 1), nn.GroupNorm(2, 6)), (3, 4, 5), 1),
    "linear on a sequence": (nn.Linear(4, 6), (3, 5, 4), -1),
    "linear on a map": (nn.Linear(4, 6), (3, 2, 5, 4), -1),
    "layer norm on a map": (nn.LayerNorm(4), (3, 2, 5, 4), -1),
    "linear, then residual": (lambda x: x + F.linear(x, torch.eye(4)), (3, 2, 5, 4), -1),
    "matmul": (lambda x: x @ torch.ones(4, 6), (3, 2, 5, 4), -1),
    "permuted": (lambda x: x.permute(0, 2, 3, 1), (3, 4, 2, 5), -1),
    "permuted there and back": (lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2), (3, 4, 2, 5), 1),
    "moved": (lambda x: torch.movedim(x, 1, -1), (3, 4, 2, 5), -1),
    "transposed": (lambda x: x.flatten(2).transpose(1, 2), (3, 4, 2, 5), -1),
    "patches": (lambda x: x.flatten(2), (3, 4, 2, 5), 1),
    "concatenated": (lambda x: torch.cat([F.linear(x, torch.eye(4)), x], -1), (3, 2, 5, 4), -1),
    "split": (lambda x: F.linear(x, torch.ones(8, 4)).chunk(2, -1)[0], (3, 2, 5, 4), -1),
    "added to a bias of as many dims": (lambda x: torch.ones(1, 2, 5, 4) + F.linear(x, torch.eye(4)), (3, 2, 5, 4), -1),
    "image": (lambda x: x * 2, (3, 4, 2, 5), 1),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_which_dim_counts_units(case):
    before, shape, dim = LAYOUTS[case]

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.before = before

        def forward(self, x):
            return self.before(x).relu()

    x = draw(*shape)
    observation = observe(Model().eval(), x)
    with torch.no_grad():
        z = before.eval()(x) if isinstance(before, nn.Module) else before(x)
    expected = z.movedim(dim, -1).reshape(-1, z.shape[dim])
    (site,) = observation.sites
    assert observation.site[site].units == z.shape[dim]
    assert observation.site[site].positions == expected.shape[0] // 3
    assert torch.equal(observation.preactivation[site], expected)


@given(batch=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_batch_is_its_samples(batch, seed):
    model = seeded(
        nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU6(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 2), nn.ReLU())
    )
    x = draw(batch, 2, 4, 4, seed=seed, dtype=torch.float64)
    model.double()
    whole = observe(model, x)
    parts = [observe(model, x[n : n + 1]) for n in range(batch)]
    for name in (*whole.sites, *whole.pools):
        assert torch.equal(whole.pattern[name], torch.cat([part.pattern[name] for part in parts]))


def test_an_output_without_a_feature_dim():
    class Scalar(nn.Module):
        def forward(self, x):
            return x.sum(1).sigmoid() * x.mean().tanh()

    observation = observe(Scalar(), draw(4, 3))
    assert observation.preactivation["sigmoid#0"].shape == (4, 1)
    assert observation.preactivation["tanh#0"].shape == (1, 1)
    assert [observation.site[name].positions for name in observation.sites] == [1, 0]


class TwoInputs(nn.Module):
    def forward(self, left, right, scale=1.0):
        return torch.relu(left + scale * right)


def test_several_inputs():
    left, right = draw(4, 3), draw(4, 3, seed=2)
    expected = torch.relu(left + right)
    for x in ((left, right), [left, right], {"left": left, "right": right}):
        observation = observe(TwoInputs(), x, target=torch.arange(4))
        assert observation.samples == 4
        assert torch.equal(observation.output, expected)
        assert torch.equal(observation.target, torch.arange(4))
    assert torch.equal(observe(TwoInputs(), {"left": left, "right": right, "scale": 0.0}).output, left.relu())


def test_an_output_of_any_form():
    class Forms(nn.Module):
        def forward(self, x):
            return {"logits": x.relu(), "parts": (x, [x + 1])}

    output = observe(Forms(), draw(2, 3), affine=True).output
    assert not output["logits"].requires_grad
    assert not output["parts"][1][0].requires_grad


def test_everything_is_made_once_and_only_when_asked_for():
    observation = observe(seeded(Reused()), draw(5, 4))
    assert observation.pattern["act#0"] is observation.pattern["act#0"]
    assert observation.preactivation["act#0"] is observation.preactivation["act#0"]
    assert "act#1" in observation.pattern
    assert "act#9" not in observation.pattern
    with pytest.raises(UnknownNameError, match="Did you mean 'act#0'"):
        observation.pattern["act#00"]


@pytest.mark.parametrize("graph", [False, True])
def test_an_observation_is_freed_with_its_last_name(graph):
    model = seeded(nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()))
    gc.collect()
    gc.disable()
    try:
        observation = observe(model, draw(2, 2, 5, 5), affine=graph)
        observation.preactivation["1#0"], observation.pattern["1#0"], observation.pattern["2#0"]
        if graph:
            observation.affine().weight, observation.affine("1#0").bias
        dead = weakref.ref(observation), weakref.ref(observation.preactivation["1#0"])
        del observation
        assert [reference() for reference in dead] == [None, None]
    finally:
        gc.enable()


def test_patterns_do_not_depend_on_what_was_asked_first():
    model, x = seeded(nn.Sequential(nn.Conv2d(2, 3, 2), nn.Hardtanh())), draw(4, 2, 5, 4)
    first, second = observe(model, x), observe(model, x)
    pattern = first.pattern["1#0"]
    assert torch.equal(second.preactivation["1#0"], first.preactivation["1#0"])
    assert torch.equal(second.pattern["1#0"], pattern)


def test_one_forward_pass():
    model, calls = seeded(Reused()), []
    model.register_forward_hook(lambda module, args, output: calls.append(1))
    observation = observe(model, draw(5, 4), affine=True)
    for site in observation.sites:
        observation.preactivation[site], observation.pattern[site], observation.affine(site).weight
    assert len(observation.affine().bias) == 5
    assert len(calls) == 1


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_blocks(reentrant):
    layers = seeded(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()))

    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            return checkpoint(self.layers, x + 1, use_reentrant=reentrant)

    x = draw(5, 4)
    with torch.no_grad():
        z = layers[0](x + 1)
    observation = observe(Checkpointed(), x, affine=True)
    assert observation.sites == ("layers.1#0", "layers.3#0")
    assert torch.equal(observation.preactivation["layers.1#0"], z)
    with pytest.raises(ObservationError, match="turn checkpointing off"):
        list(observation.affine())


# Wrappers, modes, devices.


def test_wrappers_are_taken_off():
    model, x = seeded(Reused()), draw(5, 4)
    plain = observe(model, x)
    for wrapped in (
        nn.DataParallel(model),
        torch.compile(model, backend="eager"),
        nn.DataParallel(nn.DataParallel(model)),
    ):
        observation = observe(wrapped, x)
        assert observation.model is model
        assert observation.sites == plain.sites
        assert torch.equal(observation.preactivation["act#2"], plain.preactivation["act#2"])


def test_compiled_parts_run_uncompiled():
    x = draw(5, 4)
    plain = seeded(nn.Sequential(Reused(), nn.ReLU()))
    expected = observe(plain, x)
    inside = nn.Sequential(torch.compile(plain[0], backend="eager"), nn.ReLU())
    inside(x)
    assert observe(inside, x).sites == expected.sites
    in_place = seeded(nn.Sequential(Reused(), nn.ReLU()))
    in_place.compile(backend="eager")
    in_place[0].compile(backend="eager")
    in_place(x)
    observation = observe(in_place, x)
    assert observation.sites == expected.sites
    assert torch.equal(observation.output, in_place(x))


def test_lazy_and_other_models_are_refused():
    with pytest.raises(ObservationError, match=r"lazy.*call the model once"):
        observe(nn.Sequential(nn.LazyLinear(3), nn.ReLU()), draw(2, 2))
    with pytest.raises(ObservationError, match=r"got function, expected a torch\.nn\.Module"):
        observe(seeded, draw(2, 2))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("nested", [False, True])
def test_torchscript_is_refused(nested):
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    model = nn.Sequential(scripted, nn.ReLU()) if nested else scripted
    with pytest.raises(ObservationError, match=r"TorchScript.*pass the nn\.Module"):
        observe(model, draw(2, 2))


@pytest.mark.parametrize("stacked", [False, True])
def test_the_fused_transformer_hides_nothing(stacked):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = (nn.TransformerEncoder(layer, 2) if stacked else layer).eval()
    x = draw(3, 5, 8)
    observation = observe(model, x)
    assert len(observation.sites) == 1 + stacked
    site = observation.site[observation.sites[0]]
    assert (site.units, site.positions, site.activation) == (16, 5, "relu")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(dtype):
    model, x = seeded(Reused()).to(dtype), draw(5, 4).to(dtype)
    observation = observe(model, x)
    assert observation.preactivation["act#0"].dtype == dtype
    assert torch.equal(observation.preactivation["act#0"], model.layers[0](x).detach())


def test_sums_that_overflow_are_no_error():
    for dtype, large in ((torch.float16, 6e4), (torch.float32, 3e38), (torch.float64, 1e308)):
        x = torch.full((9, 3), large, dtype=dtype)
        assert torch.equal(observe(nn.ReLU(), x).output, x)


@pytest.mark.parametrize("graph", [False, True])
def test_autocast(graph):
    model, x = seeded(Reused()), draw(5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        observation = observe(model, x, affine=graph)
        assert observation.preactivation["act#0"].dtype == torch.bfloat16
        # A weight that the observation cast must not take the place of one that the training step needs.
        loss = model(x).float().square().sum()
        if graph:
            assert observation.affine().weight.shape == (5, 4, 4)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_grad_modes(mode):
    model, x = seeded(Reused()), draw(5, 4)
    with mode():
        observation = observe(model, x.clone(), affine=True)
        weight, bias = observation.affine()
        assert torch.is_grad_enabled() is (mode is torch.enable_grad)
        assert torch.is_inference_mode_enabled() is (mode is torch.inference_mode)
    assert torch.allclose(torch.einsum("noi,ni->no", weight, x) + bias, observation.output, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_sees_what_the_cpu_sees():
    model, x = seeded(Reused()).double(), draw(5, 4, dtype=torch.float64)
    expected = observe(model, x)
    observation = observe(model.cuda(), x.cuda(), affine=True)
    for site in expected.sites:
        assert observation.pattern[site].is_cuda
        assert torch.allclose(observation.preactivation[site].cpu(), expected.preactivation[site])
    assert observation.affine().weight.is_cuda


def test_a_preserved_model_pays_no_second_snapshot(monkeypatch):
    import reluscope.forward_pass as module

    model, x = seeded(Reused()), draw(5, 4)
    taken = []
    monkeypatch.setattr(module, "preserved", lambda model: taken.append(1) or preserved(model))
    with preserved(model, training=False):
        observe(model, x)
    assert not taken
    observe(model, x)
    assert taken == [1]


# Bad input.


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_named(value):
    model, x = seeded(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))).eval(), draw(5, 4)
    what = "NaN" if value != value else "Inf"
    bad = x.clone()
    bad[2, 1] = value
    with pytest.raises(ObservationError, match=f"input holds 1 {what} among 20"):
        observe(model, bad)
    with pytest.raises(ObservationError, match=rf"input\['right'\] holds 1 {what}"):
        observe(TwoInputs(), {"left": x, "right": bad})
    with pytest.raises(ObservationError, match=rf"input\[1\] holds 1 {what}"):
        observe(TwoInputs(), (x, bad))
    for name in ("0.weight", "1.bias"):
        broken = seeded(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))).eval()
        with torch.no_grad():
            broken.get_parameter(name).view(-1)[0] = value
        with pytest.raises(ObservationError, match=f"parameter '{name}' holds 1 {what}"):
            observe(broken, x)
    model[1].running_mean[0] = value
    with pytest.raises(ObservationError, match=rf"buffer '1\.running_mean' holds 1 {what}"):
        observe(model, x)


def test_nan_after_the_last_site_is_seen():
    model = seeded(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    with torch.no_grad():
        model[2].bias[1] = torch.nan
    with pytest.raises(ObservationError, match=r"parameter '2\.bias' holds 1 NaN"):
        observe(model, draw(5, 4))

    class Late(nn.Module):
        def forward(self, x):
            return x.relu() / x.relu().sub(x.relu())

    with pytest.raises(ObservationError, match="output holds NaN"):
        observe(Late(), torch.full((1, 1), -1.0))


def test_an_overflow_names_the_site():
    class Overflows(nn.Module):
        def forward(self, x):
            return torch.relu((x * 1e30).relu() * 1e30)

    with pytest.raises(ObservationError, match=r"site 'relu#1': the pre-activation holds \d+ Inf"):
        observe(Overflows(), draw(5, 4).abs())


def test_an_additive_attention_mask_is_no_trouble_but_other_infinities_beside_the_data_are():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    inputs = {"src": draw(3, 5, 8).float(), "src_mask": mask}
    assert observe(layer, inputs).pattern["relu#0"].shape == (15, 16)
    with pytest.raises(ObservationError, match=r"src_mask.*10 Inf"):
        observe(layer, inputs | {"src_mask": -mask})
    with pytest.raises(ObservationError, match=r"'src'.*120 Inf"):
        observe(layer, inputs | {"src": torch.full((3, 5, 8), -torch.inf)})


def test_minus_infinity_in_the_data_is_named_even_where_the_network_does_not_look():
    class Half(nn.Module):
        def forward(self, x):
            return torch.relu(x[:, :1])

    x = draw(3, 2)
    x[0, 1] = -torch.inf
    with pytest.raises(ObservationError, match="input holds 1 Inf among 6 values"):
        observe(Half(), x)


def test_infinity_that_is_meant():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

        def forward(self, x):
            return x.relu() + self.mask

    assert observe(Masked(), draw(3, 2)).output[:, 1].isneginf().all()


def test_a_batch_of_one_under_batch_norm():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.BatchNorm1d(4)), nn.ReLU())
    with pytest.raises(ObservationError, match=r"batch norm '1\.0'.*call model\.eval\(\)"):
        observe(model, draw(1, 4))
    with pytest.raises(ObservationError, match=r"batch norm in the root module.*larger batch"):
        observe(nn.BatchNorm1d(4), draw(1, 4))
    assert observe(model.eval(), draw(1, 4)).samples == 1
    image = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU())
    assert observe(image, draw(1, 1, 3, 3)).samples == 1


@pytest.mark.parametrize("graph", [False, True])
def test_a_model_without_activations(graph):
    with pytest.raises(ObservationError, match=r"Linear called no activation function.*reluscope\.affine"):
        observe(nn.Linear(3, 2), draw(4, 3), affine=graph)


def test_inputs_that_are_none():
    model = nn.ReLU()
    for x, message in (
        (draw(0, 3), "empty batch"),
        (torch.tensor(1.0), "got a scalar"),
        ((), "without a tensor"),
        ({"x": 3}, "without a tensor"),
        ([[1.0, 2.0]], "without a tensor"),
        (3.0, "got float"),
    ):
        with pytest.raises(ObservationError, match=message):
            observe(model, x)


def test_without_a_graph_there_is_no_map():
    with pytest.raises(ObservationError, match=r"needs=.'affine'"):
        observe(nn.ReLU(), draw(2, 3)).affine()


def test_public_names():
    assert rs.observe is observe
    assert rs.affine.__module__ == "reluscope.observation"


@pytest.mark.parametrize("bend", [torch.relu, lambda z: F.max_pool1d(z[None], 2)[0]])
def test_an_activation_within_vmap_is_refused(bend):
    class Mapped(nn.Linear):
        def forward(self, x):
            return torch.vmap(lambda row: bend(super(Mapped, self).forward(row)))(x)

    for look in (observe, affine):
        with pytest.raises(ObservationError, match=r"in the root module runs within torch\.vmap"):
            look(Mapped(4, 4), draw(5, 4))
