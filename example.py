"""MFCVAE on one page: from images to two clusterings of them, with nothing of train.py around it.

    python example.py

A minute on a CPU. Every step names the paper's equation (arXiv 2106.05241) or the page that explains it.
"""

import torch

from config import load_config
from datasets import load_dataset, to_float, training_batches
from evaluation.scores import cluster_scores
from initialisation import factorial_start
from mfcvae import MFCVAE
from progressive import progressive_coefficients

CPU = torch.device("cpu")


def main() -> None:
    """Draw rooms, train on them without labels, and print which facet found which label."""
    config = load_config(["--config_args_path", "configs/demo.yml"])
    rooms = load_dataset(config, CPU)  # train and test: images (N, 3, 32, 32) uint8, labels (N, 2)
    torch.manual_seed(config.seed)
    order = torch.Generator().manual_seed(config.seed)

    # Two facets: z_0 with 4 clusters, z_1 with 10. The mixtures p(z_j, c_j) start from the pixels (docs/facets.md).
    model = MFCVAE(config, rooms.spec)
    codes = factorial_start(model, rooms.train.images, config)  # (N, 2): a first guess of every image's clusters
    optimizer = torch.optim.Adam(model.parameters(), lr=config.init_lr)

    n_batches = -(-len(rooms.train) // config.batch_size)
    train = type(rooms.train)(rooms.train.images, rooms.train.labels, codes)
    for epoch in range(1, config.n_epochs):
        for i, batch in enumerate(training_batches(train, config.batch_size, order, CPU)):
            coefficients = progressive_coefficients(config, epoch, i, n_batches)
            # z_j ~ q(z_j | x), q(c_j | x) = p(c_j | z_j) (Eq. 7), and the negative ELBO, term by term (Eq. 4).
            output = model(to_float(batch.images), coefficients)
            loss = output.terms.loss + model.guidance(output.z, batch.codes, coefficients)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    with torch.no_grad():
        z = [q.mean for q in model.eval().encode(to_float(rooms.test.images))]  # J tensors (N, D_j)
        clusters = [q.argmax(dim=1).numpy() for q in model.responsibilities(z)]  # J arrays (N,)
    for j, found in enumerate(clusters):
        for name, label in zip(rooms.spec.label_names, rooms.test.labels.T.numpy(), strict=True):
            print(f"facet {j}, {name}: {cluster_scores(label, found).accuracy:.0%} by majority vote")


if __name__ == "__main__":
    main()
