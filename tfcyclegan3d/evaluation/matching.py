"""Matching objects one to one by how far they overlap; arrays only."""

from __future__ import annotations

import numpy as np
from scipy import optimize, sparse
from scipy.sparse import csgraph


def best_matching(predicted: np.ndarray, true: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Match objects one to one, as many as can be, and of those ways the one of the largest summed IoU.

    Objects that may be matched to one other alone, which are all of them above a threshold of 0.5, need no assignment;
    the others are assigned group by group.

    Parameters
    ----------
    predicted, true : ndarray of int, shape (N,)
        The pairs that may be matched, each once.
    iou : ndarray of float, shape (N,)
        Intersection over union of each, in (0, 1].

    Returns
    -------
    ndarray of float
        That of each match.
    """
    if not len(iou):
        return iou
    _, rows = np.unique(predicted, return_inverse=True)
    _, columns = np.unique(true, return_inverse=True)
    n_rows, n_columns = rows.max() + 1, columns.max() + 1
    n = n_rows + n_columns
    graph = sparse.coo_matrix((np.ones(len(rows)), (rows, columns + n_rows)), shape=(n, n))
    _, groups = csgraph.connected_components(graph, directed=False)
    group_of_pair = groups[rows]
    alone = np.bincount(group_of_pair)[group_of_pair] == 1
    matched = [iou[alone]]
    for group in np.unique(group_of_pair[~alone]):
        inside = group_of_pair == group
        matched.append(_assigned(rows[inside], columns[inside], iou[inside]))
    return np.concatenate(matched)


def _assigned(rows: np.ndarray, columns: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Return the IoU of the assignment with the most pairs, and of those the largest sum."""
    _, rows = np.unique(rows, return_inverse=True)
    _, columns = np.unique(columns, return_inverse=True)
    gain = np.zeros((rows.max() + 1, columns.max() + 1))
    # A pair more always outweighs what the others can gain in IoU.
    gain[rows, columns] = min(gain.shape) + iou
    chosen: np.ndarray = gain[optimize.linear_sum_assignment(gain, maximize=True)]
    return chosen[chosen > 0] - min(gain.shape)
