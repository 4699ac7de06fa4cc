"""``fundus plan``."""

from __future__ import annotations

from fundus.frozen.loading import work_done

MODEL = ["--recipe", "fast", "--backbone", "tiny", "--weights", "fixed", "--image-size", "32"]


def test_it_says_what_train_would_do(run, document, folder, tmp_path):
    options = [folder, *MODEL, "--freeze", "4", "--cache-dir", tmp_path, "--epochs", "3"]
    before = work_done.copy()
    found = document("plan", *options)
    assert work_done == before  # too few images to measure anything
    assert (found["n_images"], found["chosen"]["way"], found["epochs"]) == (40, "activations", 3)
    assert found["others"][0]["forward_passes"] == 120
    shown = run("plan", *options).stdout
    assert "activations at the cut" in shown
    assert "40 to do, 0 there already" in " ".join(shown.split())


def test_a_layer_out_of_range(run, folder, tmp_path):
    told = run("plan", folder, *MODEL, "--freeze", "400", "--cache-dir", tmp_path, code=2).stderr
    assert "freeze" in told
    assert "layers" in told
