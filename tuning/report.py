"""What tune.py says at its end: a table of the best choices, and why the first of them was taken."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from tuning.study import Tried

N_ROWS = 5


def table(tried: Sequence[Tried]) -> str:
    """The best choices, the best first."""
    lines = [
        "n_clusters_j_list  z_j_dim_list   sigma   value  agreement  independence  explained  held-out ELBO  trials"
    ]
    for choice, judged, value, facts, n_trials in tried[:N_ROWS]:
        K, D = (" ".join(map(str, numbers)) for numbers in (choice.n_clusters, choice.z_dims))
        agreement, independence = mean(judged.agreement), mean(judged.independence)
        lines.append(
            f"{K:17s}  {D:12s}  {facts['sigma']:6.4f}  {value:6.3f}  {agreement:9.2f}  {independence:12.2f}"
            f"  {sum(judged.explained):9.2f}  {facts['elbo']:13.1f}  {n_trials:6d}"
        )
    return "\n".join(lines)


def reasons(tried: Sequence[Tried]) -> str:
    """Why the first choice was taken, in two or three sentences."""
    best, J = tried[0], len(tried[0].choice.n_clusters)
    K = " and ".join(map(str, best.choice.n_clusters))
    agreement = ", ".join(f"{a:.2f}" for a in best.judged.agreement)
    facets = f"{J} facet{'s' * (J > 1)} of {K} clusters"
    text = (
        f"{facets}: trained on one half of the images and on the other, they found clusters that agree to {agreement} "
        f"(AMI; 1 is the same, 0 is chance). Together they explain {100 * sum(best.judged.explained):.0f} percent of "
        "how the images differ."
    )
    if idle := [str(j) for j, is_idle in enumerate(best.judged.idle) if is_idle]:
        text += f" Without facet {' and '.join(idle)}, which adds nothing, it would be as good."
    others = [other for other in tried if other.choice.n_clusters != best.choice.n_clusters]
    if others and best.value > 0:
        K = " and ".join(map(str, others[0].choice.n_clusters))
        worth = others[0].value / best.value
        more = ", with more clusters" if worth > 1 else ""
        text += f" The next best numbers of clusters, {K}, come to {worth:.2f} of its value{more}."
    return text
