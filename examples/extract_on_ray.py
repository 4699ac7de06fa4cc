"""Features by several processes, with Ray
=======================================

As the example with Dask: shards of photographs on the nodes of a Ray cluster, each with a cache.

Here Ray is started on this machine. For a cluster, run `ray start --head` on one machine and
`ray start --address=HEAD:6379` on the others, and call ray.init(address="auto") on one of them.

    python examples/extract_on_ray.py train/
"""

from __future__ import annotations

import ray
from common import arguments, folder_of_photographs

from fundus import FeatureExtractor, FoldEnsemble, TransferClassifier, load_image_folder
from fundus.distributed import extract


def main() -> None:
    options = arguments(__doc__, workers=2)
    data = load_image_folder(folder_of_photographs(options))
    cache = options.out / "cache"
    frozen = {"backbone": options.backbone, "weights": options.weights, "cache": cache}

    n_workers = 1 if options.fast else options.workers
    ray.init(num_cpus=n_workers, include_dashboard=False, log_to_driver=False)
    try:
        found = extract(
            data.frame,
            client="ray",
            extractor=FeatureExtractor(**frozen),
            shard_size=32,
            worker_cache=options.out / "cache of the workers",
        )
    finally:
        ray.shutdown()
    for name, done in found.workers.items():
        print(f"{name}: {done.n_images} photographs, {done.n_bytes:,} bytes of features")

    classifier = TransferClassifier(head="logistic", grades=data.n_grades, **frozen)
    model = FoldEnsemble(classifier, cv=2, random_state=0).fit(data.frame, data.grades)
    print("kappa of each fold:", model.cv_results_["test_kappa"].round(3))


if __name__ == "__main__":
    main()
