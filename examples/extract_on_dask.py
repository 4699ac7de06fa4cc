"""Features by several processes, with Dask
========================================

Photographs are shared out in shards over workers, each machine of which keeps what it computes.

The caller gets all of it, so that the fit afterwards reads no photograph. Here the workers are
started on this machine. For a cluster, run `dask scheduler` on one machine and
`dask worker tcp://SCHEDULER:8786 --nthreads 1` on each, and pass Client("tcp://SCHEDULER:8786").

    python examples/extract_on_dask.py train/
"""

from __future__ import annotations

from common import arguments, folder_of_photographs
from distributed import Client, LocalCluster

from fundus import FeatureExtractor, FoldEnsemble, TransferClassifier, load_image_folder
from fundus.distributed import extract


def main() -> None:
    options = arguments(__doc__, workers=2)
    data = load_image_folder(folder_of_photographs(options))
    cache = options.out / "cache"
    frozen = {"backbone": options.backbone, "weights": options.weights, "cache": cache}

    n_workers = 1 if options.fast else options.workers
    # in tests a thread of this process, which has TensorFlow already
    processes = not options.fast
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=processes,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        found = extract(
            data.frame,
            client=client,
            extractor=FeatureExtractor(**frozen),
            shard_size=32,
            worker_cache=options.out / "cache of the workers",
        )
    for name, done in found.workers.items():
        print(f"{name}: {done.n_images} photographs, {done.n_bytes:,} bytes of features")

    classifier = TransferClassifier(head="logistic", grades=data.n_grades, **frozen)
    model = FoldEnsemble(classifier, cv=2, random_state=0).fit(data.frame, data.grades)
    print("kappa of each fold:", model.cv_results_["test_kappa"].round(3))


if __name__ == "__main__":
    main()
