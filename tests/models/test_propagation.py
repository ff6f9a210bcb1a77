"""Weighted sums, graphs of neighbours and conjugate gradients on small cases written out."""
import torch

from ovseg.models.propagation import NeighbourGraph, inverse_root, propagate, weighted_sums


def test_sums_of_ranges_one_of_which_is_empty():
    rows = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    index, weights = torch.tensor([2, 0, 1], dtype=torch.int32), torch.tensor([2.0, 3.0, 5.0])
    found = weighted_sums(rows, index, weights, torch.tensor([0, 2, 2], dtype=torch.int32))
    assert found.tolist() == [[2 * 3 + 3 * 1, 2 * 30 + 3 * 10], [0, 0], [5 * 2, 5 * 20]]


def test_edges_of_both_directions_add_up_and_those_to_itself_are_left_out():
    neighbours = torch.tensor([[0, 1], [0, 2], [1, 2]], dtype=torch.int32)
    graph = NeighbourGraph.of(neighbours, torch.tensor([[9.0, 1.0], [2.0, 3.0], [4.0, 9.0]]))
    assert graph.times(torch.eye(3)).tolist() == [[0, 1 + 2, 0], [1 + 2, 0, 3 + 4], [0, 3 + 4, 0]]


def test_nodes_without_edges_have_a_scale_of_zero():
    assert inverse_root(torch.tensor([[4.0], [0.0], [0.25]])).tolist() == [[0.5], [0], [2]]


def test_two_nodes_that_share_an_edge():
    """(I - 0.5 W) Z = Y with W = [[0, 1], [1, 0]]: two steps solve it, and a third changes nothing."""
    weights, seeds = torch.tensor([[0.0, 7.0], [7.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    for steps in (2, 3, 10):
        found = propagate(weights.matmul, torch.full((2, 1), 7.0), seeds, 0.5, steps, 1e-6)
        torch.testing.assert_close(found, torch.tensor([[4.0, 0.0], [2.0, 0.0]]))


def test_given_seeds_are_not_written_to():
    seeds = torch.randn(5, 3)
    before = seeds.clone()
    propagate(lambda rows: rows.roll(1, 0) + rows.roll(-1, 0), torch.full((5, 1), 2.0), seeds, 0.9, 4, 0)
    assert torch.equal(seeds, before)
