"""Graphs written as loops, and conjugate gradients for one column, which LPOSS and LPOSS+ are compared with."""
import numpy as np


def loop_patch_graph(features, centres, neighbours, gamma, sigma, power):
    """``W + Wᵀ`` of the nearest neighbours ``(n, n)`` without its diagonal, in float64."""
    count = len(features)
    unit = np.zeros(features.shape)
    for node, row in enumerate(features.astype(np.float64)):
        if np.isfinite(row).all() and np.any(row):
            unit[node] = row / np.sqrt(np.sum(row ** 2))
    weights = np.zeros((count, count))
    for node in range(count):
        similarities = [float(np.dot(unit[node], other)) for other in unit]
        nearest = sorted(range(count), key=lambda other: -similarities[other])[:neighbours]
        for other in nearest:
            distance = np.hypot(*(centres[node].astype(np.float64) - centres[other]))
            weights[node, other] = max(similarities[other], 0) ** gamma * np.exp(-sigma * distance ** power)
    weights = weights + weights.T
    np.fill_diagonal(weights, 0)
    return weights


def loop_pixel_graph(colours, neighbourhood, tau):
    """Weights ``exp(-|difference| / tau)`` of pixels ``colours (C, H, W)`` in a square around each, ``(H * W, H * W)``."""
    _, height, width = colours.shape
    reach = neighbourhood // 2
    weights = np.zeros((height * width, height * width))
    for y in range(height):
        for x in range(width):
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    if (v, u) != (y, x):
                        difference = np.sqrt(np.sum((colours[:, y, x] - colours[:, v, u]) ** 2))
                        weights[y * width + x, v * width + u] = np.exp(-difference / tau)
    return weights


def loop_conjugate_gradients(weights, seeds, alpha, num_iter, tolerance):
    """At most ``num_iter`` steps for ``(I - alpha D^-½ W D^-½) z = seeds``, and the number of steps that were taken."""
    degrees = weights.sum(axis=1)
    scale = np.array([0 if degree <= 0 else 1 / np.sqrt(degree) for degree in degrees])
    matrix = np.eye(len(weights)) - alpha * scale[:, None] * weights * scale
    residual = seeds.astype(np.float64)
    solution, direction = np.zeros(len(seeds)), residual
    limit = tolerance * np.linalg.norm(residual)
    for step in range(num_iter):
        if np.linalg.norm(residual) <= limit:
            return solution, step
        image = matrix @ direction
        length = residual @ residual / (direction @ image)
        solution = solution + length * direction
        remaining = residual - length * image
        direction = remaining + (remaining @ remaining) / (residual @ residual) * direction
        residual = remaining
    return solution, num_iter
