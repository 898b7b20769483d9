"""`alignment.py`: figures against brute force, closed forms and SciPy; and what they say where the truth is known."""

import json
import math

import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from torch.testing import assert_close

from attention_decoded.alignment import (
    Rotation,
    _cka,
    cka,
    compare,
    hits,
    mean_pool,
    procrustes,
    retrieval,
    shuffled,
)


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rotation(d: int, seed: int = 7) -> torch.Tensor:
    return torch.linalg.qr(_normal(d, d, seed=seed)).Q


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ── one vector per sentence ─────────────────────────────────────────────────────────────────────


def test_mean_pool_sees_real_tokens_only():
    states = torch.tensor([[[1.0, 10.0], [3.0, 20.0], [math.nan, math.inf]], [[5.0, 6.0], [7.0, 8.0], [9.0, 10.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert_close(mean_pool(states, mask), torch.tensor([[2.0, 15.0], [7.0, 8.0]]))
    with pytest.raises(ValueError, match=r"sentences \[1\]"):
        mean_pool(states, torch.tensor([[True, True, False], [False, False, False]]))


# ── CKA ─────────────────────────────────────────────────────────────────────────────────────────


def test_cka_by_its_other_formula():
    """HSIC of the two kernels of similarities between rows, centred by H: tr(KHLH), as Kornblith et al. define it."""
    x, y = _normal(23, 5), _normal(23, 7, seed=1)
    y[:, :3] += x[:, :3]
    h = torch.eye(23, dtype=torch.float64) - 1 / 23
    k, m = (torch.einsum("ri,si->rs", z, z) for z in (x, y))

    def hsic(a, b):
        return torch.einsum("ij,jk,kl,li->", a, h, b, h)

    assert cka(x, y) == pytest.approx((hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()).item())
    assert cka(x, y) == pytest.approx(cka(y, x))


def test_cka_knows_neither_rotation_nor_scale_nor_place():
    x, y = _normal(40, 5), _normal(40, 5, seed=1) + _normal(40, 5)
    assert cka(x, 3.7 * x @ _rotation(5) + 11) == pytest.approx(1)
    assert cka(x, y) == pytest.approx(cka(0.1 * x @ _rotation(5) - 4, y))
    assert cka(x, x * torch.tensor([9.0, 1, 1, 1, 1])) < 0.9, "but a stretched direction it notices"
    assert cka(x.float(), x.float() * 1e4) == pytest.approx(1)


def test_cka_of_independent_data_is_near_its_expected_value():
    """With centred Gaussian data E‖XᵀY‖² = pq(n−1) and E‖XᵀX‖² = p(n−1)(n+p); their ratio, for 40 draws of each."""
    n, p, q = 101, 5, 13
    expected = math.sqrt(p * q) / math.sqrt((n + p) * (n + q))
    found = [cka(_normal(n, p, seed=s), _normal(n, q, seed=1000 + s)) for s in range(40)]
    assert sum(found) / 40 == pytest.approx(expected, rel=0.1)


def test_the_jackknife_equals_leaving_out_each_row():
    x, y = _normal(17, 3), _normal(17, 5, seed=1)
    y[:, :3] += x
    value, error = _cka(x, y)
    without = torch.tensor([cka(x[rows], y[rows]) for rows in (torch.arange(17) != i for i in range(17))])
    assert value == pytest.approx(cka(x, y))
    assert error == pytest.approx((16 / 17 * ((without - without.mean()) ** 2).sum()).sqrt().item(), rel=1e-5)


def test_the_jackknife_error_is_how_much_cka_varies():
    """Two hundred corpora from one source: the spread of their figures is what each corpus alone tells."""
    values, errors = [], []
    for s in range(200):
        x, noise = _normal(80, 4, seed=s), _normal(80, 4, seed=1000 + s)
        value, error = _cka(x, x @ _rotation(4) + noise)
        values.append(value)
        errors.append(error)
    assert torch.tensor(errors).mean().item() == pytest.approx(torch.tensor(values).std().item(), rel=0.2)


# ── retrieval ───────────────────────────────────────────────────────────────────────────────────


def test_retrieval_by_brute_force():
    x, y = _normal(31, 4), _normal(31, 4) + 0.7 * _normal(31, 4, seed=1)

    def rate(a, b):
        best = 0
        for i in range(31):
            cosines = [sum(a[i] * b[j]) / math.sqrt(sum(a[i] ** 2) * sum(b[j] ** 2)) for j in range(31)]
            best += max(range(31), key=cosines.__getitem__) == i
        return best / 31

    assert retrieval(x, y) == pytest.approx((rate(x, y), rate(y, x)))
    assert 0 < rate(x, y) < 1


def test_the_two_directions_differ():
    """Both rows of x are nearest to row 1 of y, and yet each row of y is nearest to its own partner."""
    x = torch.tensor([[1.0, 1.0], [0.1, 1.0]])
    y = torch.tensor([[1.0, 0.1], [0.3, 1.0]])
    assert retrieval(x, y) == (0.5, 1.0)


def test_retrieval_ignores_length():
    x = _normal(9, 4)
    assert retrieval(x, x * torch.arange(1.0, 10)[:, None]) == (1, 1)


def test_ties_count_as_a_choice_at_random_would():
    x = _normal(6, 3)
    y = x.clone()
    y[[1, 2]] = x[0]  # three copies of one vector
    assert hits(x, y).tolist() == pytest.approx([1 / 3, 0, 0, 1, 1, 1])
    assert hits(x[:1].expand(6, -1), x[:1].expand(6, -1)).tolist() == pytest.approx([1 / 6] * 6)
    assert hits(x.float() * 3, (x.float() * 7)).tolist() == [1] * 6
    assert hits(x, torch.zeros(6, 3)).tolist() == pytest.approx([1 / 6] * 6), "a zero vector is as near as any other"


def test_retrieval_of_shuffled_pairs_is_chance():
    x = _normal(1100, 20)  # more rows than are compared at a time
    assert retrieval(x, x) == (1, 1)
    rates = [retrieval(x, shuffled(x, _generator(s)))[0] for s in range(20)]
    assert sum(rates) / 20 == pytest.approx(1 / 1100, abs=3 * math.sqrt(1 / 20) / 1100)


def test_shuffling_keeps_the_rows():
    y = torch.arange(50.0)[:, None].expand(-1, 2)
    found = shuffled(y, _generator())
    assert not torch.equal(found, y)
    assert torch.equal(found.sort(0).values, y)
    assert torch.equal(found, shuffled(y, _generator()))


# ── Procrustes ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reflect", [False, True])
def test_procrustes_recovers_a_known_rotation(reflect):
    x, turn = _normal(50, 7) + 3, _rotation(7)
    if reflect:
        turn[:, 0] *= -1
    found = procrustes(x, 2.5 * x @ turn - 4)
    assert_close(found.matrix, turn)
    assert found.scale == pytest.approx(2.5)
    new = _normal(11, 7, seed=3)
    assert_close(found.apply(new), 2.5 * new @ turn - 4)
    assert found.unexplained(new, 2.5 * new @ turn - 4).max() < 1e-20
    assert found.hits(new, 2.5 * new @ turn - 4).tolist() == [1] * 11


def test_procrustes_equals_scipys():
    x, y = _normal(50, 7), _normal(50, 7) @ _rotation(7) + 0.5 * _normal(50, 7, seed=1) + 2
    found = procrustes(x, y)
    a, b = x - x.mean(0), y - y.mean(0)
    matrix, singular = orthogonal_procrustes(a.numpy(), b.numpy())
    assert_close(found.matrix, torch.from_numpy(matrix))
    assert found.scale == pytest.approx(singular / (a**2).sum().item())
    assert_close(torch.einsum("ji,jk->ik", found.matrix, found.matrix), torch.eye(7, dtype=torch.float64))
    error = torch.einsum("rd,rd->", *[y - y.mean(0) - found.scale * a @ found.matrix] * 2) / (b**2).sum()
    assert found.unexplained(x, y).mean().item() == pytest.approx(error.item())


def test_no_other_rotation_or_scale_is_nearer():
    x, y = _normal(50, 5), _normal(50, 5) @ _rotation(5) + 0.5 * _normal(50, 5, seed=1)
    best = procrustes(x, y)
    least = best.unexplained(x, y).mean()
    for s in range(20):
        skew = 0.1 * _normal(5, 5, seed=s)
        other = Rotation(best.matrix @ torch.linalg.matrix_exp(skew - skew.mT), best.scale, best.mean_x, best.mean_y)
        assert other.unexplained(x, y).mean() > least
    for factor in (0.9, 1.1):
        other = Rotation(best.matrix, factor * best.scale, best.mean_x, best.mean_y)
        assert other.unexplained(x, y).mean() > least


def test_pitfall_29_a_rotation_is_judged_on_rows_it_has_not_seen():
    """Two spaces that have nothing in common: on its own rows the fit looks good, on others it is worthless."""
    x, y = _normal(60, 40), _normal(60, 40, seed=1)
    found = procrustes(x[:30], y[:30])
    assert found.hits(x[:30], y[:30]).mean() > 0.9
    assert found.unexplained(x[:30], y[:30]).mean() < 0.5
    assert found.hits(x[30:], y[30:]).mean() < 0.2
    assert found.unexplained(x[30:], y[30:]).mean() > 1


# ── all of it ───────────────────────────────────────────────────────────────────────────────────


def test_pitfall_29_compare_reports_intervals_and_controls():
    """One space, and its noisy rotated copy: seen by CKA and by the rotation, hidden from plain cosines."""
    x = _normal(200, 10)
    y = 2 * x @ _rotation(10) + 0.5 * _normal(200, 10, seed=1) + 3
    found = compare(x, y, _generator(), n_bootstrap=200)
    assert (found.n, found.n_held_out) == (200, 100)
    assert found.cka.value == pytest.approx(cka(x, y))
    assert (found.x_to_y.value, found.y_to_x.value) == pytest.approx(retrieval(x, y))
    for part in (found.cka, found.x_to_y, found.y_to_x, found.rotated_x_to_y, found.unexplained):
        assert part.low <= part.value <= part.high
    assert found.cka.value > 0.9
    assert found.cka.shuffled < 0.1
    assert found.x_to_y.high < 0.2
    assert found.rotated_x_to_y.low > 0.9
    assert found.rotated_x_to_y.shuffled < 0.05
    assert found.unexplained.value == pytest.approx(0.25 / 4.25, rel=0.3)
    assert found.unexplained.shuffled > 1


def test_compare_finds_nothing_where_nothing_is():
    found = compare(_normal(300, 6), _normal(300, 6, seed=1), _generator(), n_bootstrap=100)
    assert found.cka.low <= found.cka.shuffled <= found.cka.high
    assert found.x_to_y.value < 0.03
    assert found.rotated_x_to_y.value < 0.05
    assert found.unexplained.high > 1


def test_the_interval_of_cka_is_196_jackknife_errors():
    x, y = _normal(23, 3), _normal(23, 3, seed=1)
    y = y + x
    without = [cka(*(torch.cat([z[:i], z[i + 1 :]]) for z in (x, y))) for i in range(23)]
    error = math.sqrt(22 / 23 * sum((one - sum(without) / 23) ** 2 for one in without))
    found = compare(x, y, _generator(), n_bootstrap=3, n_shuffles=1).cka
    assert (found.low, found.high) == (
        pytest.approx(found.value - 1.96 * error),
        pytest.approx(min(1.0, found.value + 1.96 * error)),
    )


def test_compare_is_reproducible_and_fits_a_card():
    x, y = _normal(40, 3).float(), _normal(40, 5, seed=1).float()
    found = compare(x, y, _generator(3), n_bootstrap=50)
    assert found == compare(x, y, _generator(3), n_bootstrap=50)
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    assert found.x_to_y is found.unexplained is None, "spaces of different widths share no cosine and no rotation"
    assert found.cka.value == pytest.approx(cka(x, y))
    assert compare(x, x, _generator(3), held_out=0.25, n_bootstrap=50).n_held_out == 10


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Retrieval among many more rows is the truth for a rotation held fixed; each corpus has forty of them."""
    turn = _rotation(4)
    held = 0
    for s in range(40):
        x = _normal(120, 4, seed=s)
        found = compare(x, x @ turn + _normal(120, 4, seed=1000 + s), _generator(s), n_bootstrap=100, n_shuffles=1)
        held += found.unexplained.low <= 0.5 <= found.unexplained.high
    assert 30 <= held <= 40


_cka_of_a_reader = cka.__wrapped__  # without the shape checks that tests add, which would refuse first


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _cka_of_a_reader(_normal(5, 2), _normal(6, 2)), "5 rows against 6"),
        (lambda: cka(_normal(1, 2), _normal(1, 2)), "1 row:"),
        (lambda: cka(torch.ones(5, 2), _normal(5, 2)), "all alike"),
        (lambda: cka(torch.zeros(5, 2), _normal(5, 2)), "all alike"),
        (lambda: retrieval(torch.tensor([[1.0], [math.nan]]), _normal(2, 1)), r"rows \[1\] of x"),
        (lambda: procrustes(_normal(5, 2), torch.tensor([[1.0, 2.0]] * 4 + [[math.inf, 0.0]])), r"rows \[4\] of y"),
        (lambda: compare(_normal(9, 2), _normal(9, 2), _generator(), held_out=1.0), "held_out=1.0 of 9"),
        (lambda: compare(_normal(3, 2), _normal(3, 2), _generator()), "at least two"),
        (lambda: compare(_normal(9, 2), _normal(9, 2), _generator(), n_bootstrap=0), "n_bootstrap=0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("function", [cka, hits, procrustes])
def test_one_long_row_is_refused(function):
    with pytest.raises(ValueError, match=r"y has the shape \(5,\), not \[row, d\]"):
        function.__wrapped__(_normal(5, 3), _normal(5, 3)[:, 0])


@pytest.mark.parametrize("function", [hits, procrustes])
def test_spaces_of_different_widths_are_refused(function):
    """Under pytest the shape checks refuse them first; readers have no such checks."""
    with pytest.raises(ValueError, match="widths 3 and 2 differ"):
        function.__wrapped__(_normal(5, 3), _normal(5, 2))
