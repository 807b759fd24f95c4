"""Predicts a number, a column of a CSV table, from all other columns.

Usage: [mpirun -np 2] python examples/table_regression.py FILE.csv COLUMN LOG_DIR
"""

import sys

import distmnist


def main(file: str, column: str, log_dir: str) -> None:
    """Trains the multilayer perceptron, with the loss of absolute errors."""
    config = distmnist.Config(
        dataset=file,
        target=column,
        task="regression",
        hidden1=32,
        hidden2=16,
        learning_rate=0.05,
        batch_size=16,
        num_epochs=30,
        best_metric="mean_absolute_error:min",
        log_dir=log_dir,
    )
    run = distmnist.fit(config)
    print(f"mean absolute error {run.metrics['test']['mean_absolute_error']:.4g}")
    predicted = run.model(run.dataset.test.features[:3])["prediction"]
    print(f"predicted {predicted.numpy()} of {run.dataset.test.targets[:3]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
