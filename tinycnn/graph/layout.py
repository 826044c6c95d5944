"""Where boxes go: layers from top to bottom, few crossings, straight lines.

The method of Sugiyama et al. (1981): each box in the layer below the lowest it depends on; a line that passes through
layers gets an invisible point in each; then the order in each layer follows the average place of the neighbours above
and below (barycenters), and the places are the least-squares ones that keep this order and the gaps.  What flows from
one box to many shares its points, as one stem with branches.
"""
from __future__ import annotations

from bisect import bisect, insort
from typing import NamedTuple, Sequence

GAP, NARROW = 26.0, 14.0                             # between boxes; beside a line
SWEEPS, MOST_ROUNDS = 12, 200                       # over the layers: for their order, and for the places


class Layout(NamedTuple):
    """centres: x of each box's middle, y of its top;  routes: (source, target) -> points, from bottom to top."""

    centres: list[tuple[float, float]]
    routes: dict[tuple[int, int], list[tuple[float, float]]]
    width: float
    height: float


def layered(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]], top: int = 0, bottom: int = 0
            ) -> Layout:
    """Lay out boxes of (width, height), each edge leading from a lower number to a higher one.

    top, bottom   how many of the first boxes belong into the first layer, and of the last ones into the last
    """
    ranks = _ranks(len(sizes), edges, top, bottom)
    widths, links, stems = [w for w, _ in sizes], [], {}
    rank_of = list(ranks)
    for a, b in edges:
        links.append((_stem(a, ranks[a], ranks[b], stems, widths, rank_of, links), b))
    layers = [[] for _ in range(max(rank_of, default=0) + 1)]
    for i, r in enumerate(rank_of):
        layers[r].append(i)
    links = list(dict.fromkeys(links))
    above, below = _neighbours(len(widths), links)
    layers = _ordered(layers, above, below)
    x = _places(layers, _pulls(links, above, below, len(sizes)), widths, len(sizes))
    heights = [max((sizes[i][1] for i in layer if i < len(sizes)), default=0) for layer in layers]
    y, tops = 0.0, []
    for r, h in enumerate(heights):
        tops.append(y)
        y += h + (_room(links, rank_of, x, r) if r + 1 < len(heights) else 0)
    centres = [(x[i], tops[r] + (heights[r] - sizes[i][1]) / 2) for i, r in enumerate(ranks)]
    routes = {(a, b): _route(a, b, ranks, stems, x, tops, heights, centres, sizes) for a, b in edges}
    return Layout(centres, routes, max((x[i] + widths[i] / 2 for i in range(len(x))), default=0), y)


def _ranks(n, edges, top, bottom):
    """The layer of each box: below all it depends on, and no higher than its users need if it depends on nothing."""
    ranks, first = [1 if top and i >= top else 0 for i in range(n)], {}
    sinks = {a for a, _ in edges}
    for a, b in sorted(edges, key=lambda e: e[1]):
        ranks[b] = max(ranks[b], ranks[a] + 1)
    targets = {b for _, b in edges}
    for a, b in edges:
        first[a] = min(first.get(a, ranks[b]), ranks[b])
    for i in range(top, n):
        if i not in targets and i in sinks:
            ranks[i] = first[i] - 1
    last = max(ranks, default=0)
    return [last if i >= n - bottom else r for i, r in enumerate(ranks)]


def _stem(a, rank, until, stems, widths, rank_of, links):
    """The point of a's stem in the layer above `until`, made as far down as it is needed; a itself if it is there."""
    stem = stems.setdefault(a, [a])
    while len(stem) < until - rank:
        widths.append(0.0)
        rank_of.append(rank + len(stem))
        links.append((stem[-1], len(widths) - 1))
        stem.append(len(widths) - 1)
    return stem[until - rank - 1]


def _neighbours(n, links):
    above, below = [[] for _ in range(n)], [[] for _ in range(n)]
    for a, b in links:
        above[b].append(a)
        below[a].append(b)
    return above, below


# ---------------------------------------------------------------------------------------- the order in each layer

def _ordered(layers, above, below):
    """The layers with their boxes in the order of fewest crossings that was met."""
    best, least = layers, _crossings(layers, below)
    for sweep in range(SWEEPS):
        if not least:
            break
        down = sweep % 2 == 0
        layers = _sorted(layers, above if down else below, down)
        crossed = _crossings(layers, below)
        if crossed < least:
            best, least = layers, crossed
    return best


def _sorted(layers, neighbours, down):
    places: dict[int, float] = {}
    result = list(layers)
    for r in range(len(layers)) if down else reversed(range(len(layers))):
        here = {i: k for k, i in enumerate(result[r])}
        centre = {i: sum(places[j] for j in neighbours[i]) / len(neighbours[i]) if neighbours[i] else k
                  for i, k in here.items()}
        result[r] = sorted(result[r], key=lambda i: (centre[i], here[i]))
        places.update((i, k) for k, i in enumerate(result[r]))
    return result


def _crossings(layers, below):
    place = {i: k for layer in layers for k, i in enumerate(layer)}
    total = 0
    for layer in layers:
        ends: list[int] = []
        for i in layer:
            mine = [place[j] for j in below[i]]
            total += sum(len(ends) - bisect(ends, p) for p in mine)
            for p in mine:
                insort(ends, p)
    return total


# ---------------------------------------------------------------------------------------- places

def _pulls(links, above, below, real):
    """For each box and point its neighbours, and how strongly a line should be straight.

    More the longer it is (Gansner et al., 1993), and where it is the only one between two boxes.
    """
    pulls: list[list[tuple[int, float]]] = [[] for _ in above]
    for a, b in links:
        points = (a >= real) + (b >= real)
        pull = (1.0, 2.0, 8.0)[points] * (24 if len(below[a]) == len(above[b]) == 1 else 1)
        pulls[a].append((b, pull))
        pulls[b].append((a, pull))
    return pulls


def _places(layers, pulls, widths, real):
    """x of each box and point: of all that keep the order and the gaps, those with the straightest lines, by the sum of
    pull * (x_a - x_b)^2.  One layer after the other takes its best places between those of its neighbours.
    """
    x = [0.0] * len(widths)
    least = [_apart(layer, widths, real) for layer in layers]
    for layer, apart in zip(layers, least):
        for i, place in zip(layer, apart):
            x[i] = place - apart[-1] / 2
    for sweep in range(MOST_ROUNDS):
        moved = 0.0
        for layer, apart in list(zip(layers, least))[::1 if sweep % 2 == 0 else -1]:
            weights = [sum(pull for _, pull in pulls[i]) or 1e-3 for i in layer]
            wanted = [sum(pull * x[j] for j, pull in pulls[i]) / w if pulls[i] else x[i]
                      for i, w in zip(layer, weights)]
            for i, place in zip(layer, _fitted(wanted, weights, apart)):
                moved, x[i] = max(moved, abs(x[i] - place)), place
        if moved < 0.05:
            break
    left = min((x[i] - widths[i] / 2 for i in range(len(x))), default=0)
    return [v - left for v in x]


def _apart(layer, widths, real):
    """Places side by side with the least gaps, from 0 on."""
    places = []
    for k, i in enumerate(layer):
        if not k:
            places.append(0.0)
            continue
        j = layer[k - 1]
        gap = GAP if i < real and j < real else NARROW
        places.append(places[-1] + (widths[i] + widths[j]) / 2 + gap)
    return places


def _fitted(wanted, weights, apart):
    """The places nearest to those wanted, by weighted least squares, at least as far apart as `apart`: neighbours that
    would be too close move as a block to their average (pool adjacent violators).
    """
    blocks: list[list[float]] = []                   # (average, weight, how many)
    for w, weight, base in zip(wanted, weights, apart):
        blocks.append([w - base, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            v, m, k = blocks.pop()
            a = blocks[-1]
            a[:] = [(a[0] * a[1] + v * m) / (a[1] + m), a[1] + m, a[2] + k]
    offsets = [v for v, _, k in blocks for _ in range(int(k))]
    return [v + base for v, base in zip(offsets, apart)]


def _room(links, rank_of, x, r):
    """The height between layer r and the next: more where lines have far to go."""
    far = max((abs(x[a] - x[b]) for a, b in links if rank_of[a] == r), default=0)
    return min(90.0, 34 + 0.08 * far)


def _route(a, b, ranks, stems, x, tops, heights, centres, sizes):
    """Points of the line from a's lower edge to b's upper one, through the layers between."""
    points = [(centres[a][0], centres[a][1] + sizes[a][1])]
    for d, r in zip(stems[a][1:], range(ranks[a] + 1, ranks[b])):
        points += [(x[d], tops[r]), (x[d], tops[r] + heights[r])]
    return [*points, centres[b]]
