"""What to expect of many GPUs, on paper: a model of one step from stated numbers.

Command: python benchmarks/scaling.py [--flops 18.8e9] [--weights 133.9e6] [--batch 64]
    [--gpu 989e12] [--share 0.35] [--inside 360e9] [--outside 25e9] [--rows 186]
    [--memory 141e9]

Data parallel training of ResNet50 + BERT-base (64 tokens) + gated fusion. Operations
and weights are counted (benchmarks/train_step.py), rows a second and core are measured
(benchmarks/input_pipeline.py); the rest is stated: an H200's peak in bfloat16 and the
share of it that such a network reaches, and bytes a second of an all-reduce within a
host of eight GPUs and through each host's network.

- compute: 3 x forward x batch / (peak x share); a backward pass is two forward ones.
- all-reduce: 2 (n - 1) / n x 4 bytes a weight / bandwidth, within hosts and then across
  them; "hidden" is where it runs beside the backward pass, two thirds of the compute.
- gather: what InfoNCE brings from the other replicas, two embeddings of 512 a row, and
  the sum over the replicas of its gradient, which costs as much as an all-reduce.
- cores: that decode pictures, texts and clips as fast as one GPU takes them.

A second table is of the contrastive loss, N rows in the joined batch, n of them a
GPU's: float32 logits (one matrix, and PEAK of them alive at once in the backward pass,
as measured by the process' memory on a CPU) and operations on each GPU. "own rows" is
what `InfoNCE` and `SigLIP` do, n x N from either side; "all rows", N x N on every GPU,
is what a loss of the gathered batch does where it is not divided, as
`SupervisedContrastive` and `MaskedPrediction` are not.
"""

import argparse

HOST = 8  # GPUs
UNITS, MODALITIES = 512, 2
PEAK = 6  # 5.6 and 6.3: `info_nce` of 4,096 and 8,192 rows with its gradient


def step(gpus, options):
    """Milliseconds of compute, all-reduce and gather of a step."""
    hosts = -(-gpus // HOST)
    within = min(gpus, HOST)
    work = 3 * options.flops * options.batch / (options.gpu * options.share)
    size = 4 * options.weights
    reduce = 2 * (within - 1) / within * size / options.inside
    reduce += 2 * (hosts - 1) / hosts * size / options.outside
    rows = options.batch * gpus
    gather = 4 * UNITS * MODALITIES * rows * 3  # once there, twice to add up and back
    gather = gather / options.outside if hosts > 1 else gather / options.inside
    return 1e3 * work, 1e3 * reduce, 1e3 * gather * (gpus > 1)


def contrast(gpus, options):
    """Bytes of a matrix of logits, and operations: of own rows, and of all rows."""
    own, rows = options.batch, options.batch * gpus
    product = 2 * UNITS * rows  # a row of logits
    # two matrices from own rows; of all rows the second is the first one turned. The
    # backward pass of a product is two
    return (4 * own * rows, 3 * 2 * own * product), (4 * rows**2, 3 * rows * product)


def contrast_table(options):
    """Lines of the table of the contrastive loss."""
    model = 3 * options.flops * options.batch
    yield (
        f"{'GPUs':>5s} {'rows':>7s}   own rows: {'logits':>8s} {'of model':>8s}   "
        f"all rows: {'logits':>9s} {'at the peak':>11s} {'TFLOP':>7s} {'of model':>8s}"
    )
    for gpus in (1, 8, 16, 64, 256, 512, 1024):
        (own, little), (whole, much) = contrast(gpus, options)
        yield (
            f"{gpus:5d} {gpus * options.batch:7,d}   "
            f"{own / 1e6:15.1f} MB {little / model:8.4f}   "
            f"{whole / 1e9:16.2f} GB {PEAK * whole / 1e9:8.1f} GB {much / 1e12:7.2f} "
            f"{much / model:8.2f}"
        )
    rows = (options.memory / PEAK / 4) ** 0.5
    level = (model / 6 / UNITS) ** 0.5
    yield (
        f"All rows: {options.memory / 1e9:.0f} GB hold {rows:,.0f} rows at the peak, "
        f"{rows / options.batch:.0f} GPUs; it takes the model's own {model / 1e12:.1f} "
        f"TFLOP from {level:,.0f} rows on, {level / options.batch:.0f} GPUs."
    )


def table(options):
    """Lines of the table of steps."""
    yield (
        f"{'GPUs':>5s} {'compute':>8s} {'all-reduce':>11s} {'gather':>7s}   "
        f"{'efficiency':>10s} {'hidden':>7s} {'rows/s':>10s} {'cores a GPU':>12s}"
    )
    for gpus in (1, 8, 16, 64, 256, 1024):
        work, reduce, gather = step(gpus, options)
        left = max(reduce - 2 / 3 * work, 0.0)
        plain, hidden = work / (work + reduce), work / (work + left)
        rows = gpus * options.batch / (work + left) * 1e3
        cores = rows / gpus / options.rows
        yield (
            f"{gpus:5d} {work:5.1f} ms {reduce:8.1f} ms {gather:4.1f} ms   "
            f"{100 * plain:8.0f} % {100 * hidden:5.0f} % {rows:10,.0f} {cores:12.0f}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = {
        "flops": (18.8e9, "operations of a forward pass, a row"),
        "weights": (133.9e6, "weights that train"),
        "gpu": (989e12, "operations a second of a GPU at its peak"),
        "share": (0.35, "share of the peak that is reached"),
        "inside": (360e9, "bytes a second of an all-reduce within a host"),
        "outside": (25e9, "bytes a second of each host's network (25e9: 200 Gb/s)"),
        "rows": (186.0, "rows a second that one core decodes"),
        "memory": (141e9, "bytes of memory of a GPU"),
    }
    for name, (value, text) in numbers.items():
        parser.add_argument(f"--{name}", type=float, default=value, help=text)
    parser.add_argument("--batch", type=int, default=64, help="rows of a GPU")
    options = parser.parse_args()
    for line in [*table(options), "", *contrast_table(options)]:
        print(line)


if __name__ == "__main__":
    main()
