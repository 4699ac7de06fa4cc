"""Try seven cases on this library and on others; the second table of docs/reliability.md.

python docs/studies/reliability_elsewhere.py [--aucmedi /path/to/its/venv/bin/python]

Each library saves and reads in its own way: a pipeline of scikit-learn and a `KerasClassifier` of
scikeras with joblib, as their guides say, AUCMEDI with ``dump`` and ``load``. AUCMEDI is under the
GPL: it is run as a program with an interpreter of its own, and nothing here imports it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import numpy as np

PAGE = Path(__file__).resolve().parents[1] / "reliability.md"
START, END = (
    "<!-- others: written by docs/studies/reliability_elsewhere.py -->",
    "<!-- end of others -->",
)
FLIPS, KILLS = 60, 8

#: What a child process runs: fit, save and predict for each library.
COMMON = """
import os, sys, pickle, hashlib
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
rng = np.random.default_rng(0)
X = rng.normal(size=(80, 16)).astype("float32")
y = np.arange(80) % 5
def told(p):
    print("digest", hashlib.sha256(np.asarray(p, "float32").tobytes()).hexdigest(), flush=True)
"""
CODE = {
    "fundus": """
import fundus
def fit():
    model = fundus.TransferClassifier("precomputed", "softmax", epochs=3, random_state=0)
    return model.fit(X, y)
def save(model, path): model.save(path)
def load(path): return fundus.load(path)
def predict(model): return model.predict_proba(X)
""",
    "scikit-learn, joblib": """
import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
def fit(): return make_pipeline(StandardScaler(), LogisticRegression(random_state=0)).fit(X, y)
def save(model, path): joblib.dump(model, path)
def load(path): return joblib.load(path)
def predict(model): return model.predict_proba(X)
""",
    "scikeras, joblib": """
import joblib, keras
from scikeras.wrappers import KerasClassifier
def net():
    layers = [keras.Input((16,)), keras.layers.Dense(5, "softmax")]
    return keras.Sequential(layers)
def fit():
    model = KerasClassifier(net, loss="sparse_categorical_crossentropy", optimizer="adam",
                            epochs=3, random_state=0, verbose=0)
    return model.fit(X, y)
def save(model, path): joblib.dump(model, path)
def load(path): return joblib.load(path)
def predict(model): return model.predict_proba(X)
""",
    "AUCMEDI": """
import contextlib, glob
from PIL import Image
from aucmedi import DataGenerator, NeuralNetwork
here = os.environ["PHOTOGRAPHS"]
names = sorted(os.listdir(here))
labels = np.eye(5)[np.arange(len(names)) % 5]
def data(labels=None, shuffle=False):
    return DataGenerator(names, here, labels=labels, resize=(32, 32), batch_size=8, shuffle=shuffle,
                         standardize_mode="tf", grayscale=False, seed=0)
def net(): return NeuralNetwork(n_labels=5, channels=3, architecture="2D.Vanilla",
                                input_shape=(32, 32), pretrained_weights=False, verbose=0)
def fit():
    model = net()
    model.train(data(labels, True), epochs=1)
    return model
def save(model, path): model.dump(path)
def load(path):
    model = net()
    model.load(path)
    return model
def predict(model): return model.predict(data())
""",
}
SAVED_AS = {"fundus": "model", "AUCMEDI": "model.weights.h5"}
CASES = (
    "a file made to run code is loaded",
    f"one bit is flipped, {FLIPS} times",
    f"SIGKILL during a save, {KILLS} times",
    "the disk is full during a save (RLIMIT_FSIZE)",
    "a saved file is cut to half",
    "the same seed in two processes",
    "a cut photograph among good ones",
)


class Library:
    """One library, driven in child processes."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        self.name, self.python, self.folder = name, python, folder
        folder.mkdir()
        self.path = folder / SAVED_AS.get(name, "model.joblib")
        self.env = {**os.environ, "PHOTOGRAPHS": str(folder.parent / "photographs")}

    def start(self, code: str) -> subprocess.Popen[str]:
        """Start a child that knows ``fit``, ``save``, ``load``, ``predict``, ``told``."""
        file = self.folder / "child.py"
        file.write_text(COMMON + CODE[self.name] + code, encoding="utf-8")
        return subprocess.Popen(
            [self.python, str(file), str(self.path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env,
        )  # fmt: skip

    def run(self, code: str) -> tuple[list[str], str]:
        """Return the lines that a child printed, and the last line of its error."""
        out, err = self.start(code).communicate()
        lines = [line for line in out.splitlines() if line.startswith(("digest", "told"))]
        return lines, (err.strip().splitlines() or [""])[-1]

    def parts(self) -> list[Path]:
        """Files of the saved model."""
        return sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]

    def remove(self) -> None:
        """Remove the saved model."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


#: Loads each of several copies in one process, since TensorFlow takes seconds to start.
EACH = """
import json
for path in json.loads(os.environ["COPIES"]):
    try:
        told(predict(load(path)))
    except BaseException as error:
        print("told", type(error).__name__, flush=True)
"""


def of_copies(library: Library, copies: list[Path], expected: str) -> Counter[str]:
    """Load copies; count those that were refused, predicted the same, or something else."""
    library.env["COPIES"] = json.dumps([str(copy) for copy in copies])
    lines, error = library.run(EACH)
    seen = Counter(
        "noticed" if line.startswith("told") else "same" if line == expected else "changed"
        for line in lines
    )
    if len(lines) < len(copies):
        seen[f"process died ({error[:60]})"] += 1
    return seen


def flipped(library: Library, expected: str) -> str:
    """Flip single bits."""
    rng, copies = np.random.default_rng(0), []
    for number in range(FLIPS):
        copy = library.folder / f"flip-{number}" / library.path.name
        copy.parent.mkdir()
        (shutil.copytree if library.path.is_dir() else shutil.copy)(library.path, copy)
        files = sorted(copy.iterdir()) if copy.is_dir() else [copy]
        sizes = np.array([file.stat().st_size for file in files], float)
        file = files[rng.choice(len(files), p=sizes / sizes.sum())]
        content = bytearray(file.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        file.write_bytes(content)
        copies.append(copy)
    seen = of_copies(library, copies, expected)
    return (
        f"{seen.pop('noticed', 0)} noticed, {seen.pop('changed', 0)} predicted something else, "
        f"{seen.pop('same', 0)} loaded and predicted the same" + "".join(f"; {k}" for k in seen)
    )


def killed(library: Library, expected: str) -> str:
    """Kill saves over and over, in children that save in a loop."""
    rng, copies, absent = np.random.default_rng(0), [], 0
    loop = (
        "model = load(sys.argv[1])\nprint('ready', flush=True)\nk = 0\n"
        "while True:\n    k += 1\n"
        "    save(model, os.environ['NEXT'] + f'/{k}/' + os.environ['NAME'])\n"
    )
    for number in range(KILLS):
        library.env["NEXT"] = str(library.folder / f"kill-{number}")
        library.env["NAME"] = library.path.name
        for k in range(1, 400):
            (library.folder / f"kill-{number}" / str(k)).mkdir(parents=True)
        child = library.start(loop)
        while "ready" not in (line := child.stdout.readline()) and line:
            pass
        time.sleep(rng.uniform(0.02, 0.2))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        tops = (p for p in (library.folder / f"kill-{number}").iterdir() if any(p.iterdir()))
        last = max(tops, key=lambda p: int(p.name), default=None)
        if last is None or not (last / library.path.name).exists():
            absent += 1
        else:
            copies.append(last / library.path.name)
    seen = of_copies(library, copies, expected)
    return (
        f"{absent} absent, {seen['same']} whole, {seen['noticed']} half (refused when read), "
        f"{seen['changed']} half and loaded"
    )


def full(library: Library) -> str:
    """Save with a limit of half the size of the largest file."""
    size = max(file.stat().st_size for file in library.parts()) // 2
    code = (
        "model = load(sys.argv[1])\nimport resource\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, resource.RLIM_INFINITY))\n"
        "try:\n    save(model, sys.argv[1] + '-full' + os.environ['ENDING'])\n"
        "except BaseException as error:\n    print('told', type(error).__name__, flush=True)\n"
        "else:\n    print('told **no error**', flush=True)\nos._exit(0)\n"
    )
    library.env["ENDING"] = "".join(library.path.suffixes)
    lines, _ = library.run(code)
    left = library.folder / f"{library.path.name}-full{library.env['ENDING']}"
    what = "nothing left" if not left.exists() else "a half file left"
    return f"{lines[0].partition(' ')[2] if lines else '**the process ended**'}, {what}"


def cut(library: Library, expected: str) -> str:
    """Cut the largest file to half."""
    copy = library.folder / "cut" / library.path.name
    copy.parent.mkdir()
    (shutil.copytree if library.path.is_dir() else shutil.copy)(library.path, copy)
    files = sorted(copy.iterdir()) if copy.is_dir() else [copy]
    file = max(files, key=lambda f: f.stat().st_size)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    seen = of_copies(library, [copy], expected)
    return ", ".join("refused" if k == "noticed" else k for k in seen)


def hostile(library: Library) -> str:
    """Put a pickle that makes a file where the library keeps its arrays or its model."""
    if library.name == "AUCMEDI":
        return "not tried: its HDF5 files hold weights only"
    mark = library.folder / "code-has-run"
    code = f"""
import pickle, json, hashlib
class Bad:
    def __reduce__(self): return (open, ({str(mark)!r}, "w"))
path = sys.argv[1]
if os.path.isdir(path):
    for name in os.listdir(path):
        if name not in ("manifest.json", "model.json"):
            file = os.path.join(path, name)
            open(file, "wb").write(pickle.dumps(Bad()))
            manifest = json.load(open(path + "/manifest.json"))
            digest = hashlib.sha256(open(file, "rb").read()).hexdigest()
            manifest["files"][name] = digest
            json.dump(manifest, open(path + "/manifest.json", "w"))
else:
    open(path, "wb").write(pickle.dumps(Bad()))
try:
    predict(load(path))
except BaseException as error:
    print("told", type(error).__name__, flush=True)
"""
    lines, _ = library.run(code)
    if mark.exists():
        return "**the code ran**"
    return f"no code ran, {lines[0].split()[1] if lines else 'no error'}"


def photographs(folder: Path) -> None:
    """Make 20 photographs, for the libraries that read images."""
    import cv2

    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(20):
        picture = cv2.resize(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8), (64, 64))
        cv2.imwrite(str(folder / f"{k:02d}.jpeg"), picture)


def odd_photograph(library: Library) -> str:
    """Predict with one photograph cut to half; the names of its neighbours must stay right."""
    if library.name not in ("fundus", "AUCMEDI"):
        return "reads no images"
    where = Path(library.env["PHOTOGRAPHS"])
    odd = where / "07.jpeg"
    before = odd.read_bytes()
    odd.write_bytes(before[: len(before) // 2])
    code = "print('told', len(predict(load(sys.argv[1]))), 'predictions', flush=True)"
    if library.name == "fundus":
        code = (
            "model = fundus.TransferClassifier('tiny', 'logistic', weights='fixed', cache=False)\n"
            f"paths = [os.path.join({str(where)!r}, f'{{k:02d}}.jpeg') for k in range(20)]\n"
            "good = [p for p in paths if '07' not in p]\n"
            "model.fit(good, np.arange(19) % 5)\nmodel.predict(paths)\n"
            "print('told', 'no error', flush=True)"
        )
    lines, error = library.run(code)
    odd.write_bytes(before)
    return "predicted as if whole" if lines else f"refused: {error.split(':')[0].split('.')[-1]}"


def column(library: Library) -> list[str]:
    """Try all cases on one library."""
    begin = "model = fit()\nsave(model, sys.argv[1])\ntold(predict(model))\n"
    first, error = library.run(begin)
    if not first:
        raise RuntimeError(f"{library.name} cannot be tried: {error}")
    library.remove()
    second, _ = library.run(begin)
    reading, _ = library.run("told(predict(load(sys.argv[1])))")
    if reading != second:
        print(f"{library.name}: a loaded model predicts other bits than the saved one")
    expected = reading[0]
    cells = [flipped(library, expected), killed(library, expected), full(library)]
    cells.append(cut(library, expected))
    cells.append("the same bits" if first == second else "other predictions")
    cells.append(odd_photograph(library))
    return [hostile(library), *cells]  # last, since it spoils what was saved


def main() -> None:
    """Try all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aucmedi", help="interpreter of an environment that has AUCMEDI")
    parser.add_argument("--only", nargs="*", help="libraries to try, without writing the page")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    columns: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        photographs(Path(name) / "photographs")
        for number, library in enumerate(arguments.only or CODE):
            python = arguments.aucmedi if library == "AUCMEDI" else sys.executable
            if python is None:
                continue
            columns[library] = column(Library(library, python, Path(name) / str(number)))
            print(library, columns[library], flush=True)
            if not arguments.only:  # each column as soon as it is known
                write(columns, arguments.aucmedi)


def write(columns: dict[str, list[str]], aucmedi: str | None) -> None:
    """Write the table into the page."""
    lines = ["| case | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for row, case in enumerate(CASES):
        lines.append(f"| {case} | " + " | ".join(cells[row] for cells in columns.values()) + " |")
    packages = ("scikit-learn", "scikeras", "joblib", "keras", "tensorflow")
    told = "Versions: " + ", ".join(f"{name} {version(name)}" for name in packages)
    if aucmedi:
        code = "from importlib.metadata import version as v; print(v('aucmedi'), v('keras'))"
        said = subprocess.run([aucmedi, "-c", code], capture_output=True, text=True, check=True)
        told += ", aucmedi {} with keras {}".format(*said.stdout.split())
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    made = "\n".join([START, "", *lines, "", f"{told}.", "", END])
    PAGE.write_text(before + made + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
