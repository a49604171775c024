"""The serving clients, against servers that keep to TF Serving's protocols."""

import base64
import concurrent.futures
import contextlib
import http.server
import importlib
import json
import re
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.export import endpoints, raw
from tests.export import everything, parts

SERVING = Path(__file__).parents[2] / "examples" / "serving"
NAMES = ("photo", "title", "sound")


@pytest.fixture
def client(monkeypatch):
    """Imports a client by name; requests stay on this machine."""
    monkeypatch.syspath_prepend(str(SERVING))
    monkeypatch.setenv("no_proxy", "*")
    yield importlib.import_module
    for name in ("fields", "rest_client", "grpc_client", "litert_client"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def model():
    return everything.model(names=NAMES)


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """The SavedModel, without the export's own checks, as TensorFlow alone loads it."""
    folder = str(tmp_path_factory.mktemp("models") / "products/1")
    reader = raw.Reader(endpoints.in_order(model), "raise", None)
    module, functions = endpoints.trace(model, reader, {})
    wanted = {name: functions[name] for name in ("serve_raw", "features")}
    tf.saved_model.save(module, folder, signatures=wanted)
    return tf.saved_model.load(folder)


@pytest.fixture(scope="module")
def rows():
    """A row of everything, one with gaps, one of strange text."""
    rng = np.random.default_rng(0)
    photo = parts.png(rng.integers(0, 256, (11, 9, 3), "uint8"))
    sound = parts.wav(rng.integers(-9000, 9000, 1000, "int16"))
    return [
        {"photo": photo, "title": "A red cup!", "sound": sound},
        {"photo": "", "title": "naïve hat 北京 😀", "sound": ""},
        {"photo": photo, "title": ""},
    ]


@pytest.fixture(scope="module")
def wanted(model, rows):
    """Softmax of `model.predict` on tensors that the contracts' `read_cell` gives."""
    tensors = {}
    for name, contract in mm.readers(model).items():
        cells = [row.get(name) for row in rows]
        empty = np.zeros(contract.tensor_shape, contract.tensor_dtype)
        tensors[name] = np.stack([contract.read_cell(x) if x else empty for x in cells])
        tensors[f"{name}_present"] = np.float32([bool(x) for x in cells])
    logits = model.predict(tensors, verbose=0).astype("float64")
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def check(answers, wanted):
    assert len(answers) == len(wanted)
    for answer, scores in zip(answers, wanted, strict=True):
        np.testing.assert_allclose(answer["scores"], scores, atol=1e-5)
        assert answer["classes"] == everything.CLASSES
        assert answer["class"] == everything.CLASSES[scores.argmax()]
        assert len(answer["outputs"]) == len(everything.CLASSES)


# -- REST: the rules of TF Serving's api_rest.md ------------------------------------


class Rest(http.server.BaseHTTPRequestHandler):
    """POST /v1/models/products:predict, in rows or columns."""

    model = None

    def do_POST(self):
        try:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = 200, self.answer(json.loads(body))
        except KeyError as error:
            status, answer = 404, {"error": f"Servable not found: {error}"}
        except (tf.errors.OpError, TypeError, ValueError) as error:
            status, answer = 400, {"error": str(error)}
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, request):
        if not re.fullmatch(r"/v1/models/products(/versions/1)?:predict", self.path):
            raise KeyError(self.path)
        serve = self.model.signatures[request["signature_name"]]
        if "instances" in request:
            given = request["instances"]
            assert len({frozenset(x) for x in given}) == 1
            columns = {name: [x[name] for x in given] for name in given[0]}
        else:
            columns = request["inputs"]
        tensors = {x: tf.constant([*map(decoded, y)]) for x, y in columns.items()}
        found = {x: plain(y.numpy()) for x, y in serve(**tensors).items()}
        single = len(found) == 1
        if "inputs" in request:
            return {"outputs": next(iter(found.values())) if single else found}
        made = [dict(zip(found, x, strict=True)) for x in zip(*found.values())]  # noqa: B905
        return {
            "predictions": [next(iter(x.values())) for x in made] if single else made
        }

    def log_message(self, *_):
        pass


def decoded(value):
    if isinstance(value, dict):
        assert list(value) == ["b64"]
        return base64.b64decode(value["b64"], validate=True)
    return value.encode("utf-8")


def plain(array):
    if array.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(array).tolist()
    return array.tolist()


@pytest.fixture(scope="module")
def rest(served):
    Rest.model = served
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rest)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_rest(client, rest, rows, wanted, form):
    ask = client("rest_client").predict
    check(ask(rows, rest, "products", form=form), wanted)
    check(ask(rows[:1], rest, "products/versions/1", form=form), wanted[:1])
    # one output: TF Serving leaves its name out
    found = ask(rows, rest, "products", "features", form)
    assert [len(x["outputs"]) for x in found] == [8, 8, 8]


def test_rest_errors(client, rest, rows):
    ask = client("rest_client").predict
    with pytest.raises(ValueError, match="answers 404: Servable not found"):
        ask(rows, rest, "cars")
    broken = [{**rows[0], "photo": b"no picture"}]
    with pytest.raises(ValueError, match="answers 400"):
        ask(broken, rest, "products")


def test_rest_command_line(client, rest, rows, wanted, tmp_path, capsys):
    for name in ("photo", "sound"):
        (tmp_path / name).write_bytes(rows[0][name])
    fields = [
        f"photo=@{tmp_path}/photo",
        "title=A red cup!",
        f"sound=@{tmp_path}/sound",
    ]
    client("rest_client").main([*fields, "--url", rest])
    best = everything.CLASSES[wanted[0].argmax()]
    assert f"'class': '{best}'" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        client("rest_client").main([f"photo=@{tmp_path}/none"])
    assert "No such file" in capsys.readouterr().err


# -- gRPC: TF Serving's own protocol ------------------------------------------------


@contextlib.contextmanager
def grpc_server(served):
    import grpc
    from tensorflow_serving.apis import (
        predict_pb2,
    )
    from tensorflow_serving.apis import (
        prediction_service_pb2_grpc as service,
    )

    class Service(service.PredictionServiceServicer):
        def Predict(self, request, context):
            spec = request.model_spec
            if spec.name != "products" or spec.version.value not in (0, 1):
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found")
            inputs = {
                name: tf.constant(tf.make_ndarray(x))
                for name, x in request.inputs.items()
            }
            answer = predict_pb2.PredictResponse()
            for name, x in served.signatures[spec.signature_name](**inputs).items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(x.numpy()))
            return answer

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        # TF Serving takes messages of any size
        server = grpc.server(pool, options=[("grpc.max_receive_message_length", -1)])
        service.add_PredictionServiceServicer_to_server(Service(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()


def test_grpc(client, served, rows, wanted, tmp_path, capsys):
    import grpc

    grpc_client = client("grpc_client")
    with grpc_server(served) as address:
        stub = grpc_client.connect(address)
        check(grpc_client.predict(rows, stub, "products"), wanted)
        check(grpc_client.predict(rows[:2], stub, "products", version=1), wanted[:2])
        with pytest.raises(grpc.RpcError, match="Servable not found"):
            grpc_client.predict(rows, stub, "products", version=7)
        noise = np.random.default_rng(0).integers(0, 256, (1250, 1250, 3), "uint8")
        large = parts.png(noise)
        assert len(large) > 2**22  # gRPC's own limit
        assert len(grpc_client.predict([{**rows[1], "photo": large}], stub, "products"))
        fields = ["photo=", "title=naïve hat 北京 😀", "sound="]
        grpc_client.main([*fields, "--address", address])
    best = everything.CLASSES[wanted[1].argmax()]
    assert f"'class': '{best}'" in capsys.readouterr().out


# -- the server's files -------------------------------------------------------------


def test_configs_are_what_the_server_reads():
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    text = (SERVING / "models.config").read_text()
    made = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (config,) = made.model_config_list.config
    assert config.name == "products" and config.base_path == "/models/products"
    assert config.model_version_policy.latest.num_versions == 2


def test_batching_and_monitoring_name_known_settings():
    """Their messages are not among the published protos: their fields, by name."""
    text = re.sub(r"#.*", "", (SERVING / "batching.config").read_text())
    found = re.findall(r"(\w+) \{ value: (\d+) \}", text)
    assert not re.sub(r"\w+ \{ value: \d+ \}", "", text).strip()
    assert {name for name, _ in found} <= {
        "max_batch_size",
        "batch_timeout_micros",
        "max_enqueued_batches",
        "num_batch_threads",
    }
    text = re.sub(r"#.*", "", (SERVING / "monitoring.config").read_text())
    fields = r'prometheus_config \{ enable: true path: "/monitoring/[a-z/]+" \}'
    assert re.fullmatch(fields, " ".join(text.split()))


def test_the_readme_names_files_that_are_there():
    text = (SERVING / "README.md").read_text()
    names = set(re.findall(r"[\w/]+\.(?:py|config)\b", text))
    for name in names - {"docs/devices.md"}:
        assert (SERVING / Path(name).name).exists() or (
            SERVING.parents[1] / name
        ).exists()
    assert {x.name for x in SERVING.iterdir() if x.suffix == ".config"} <= {
        Path(name).name for name in names
    }


# -- a device -----------------------------------------------------------------------


def test_litert(client, rows, tmp_path, capsys):
    """Four modalities; pictures grow and shrink, with and without transparency."""
    from PIL import Image

    model = everything.model()
    mm.export.tflite(model, tmp_path / "all.tflite")
    rng = np.random.default_rng(1)
    for name, shape in {"a": (30, 21, 4), "b": (5, 4, 3), "c": (8, 8)}.items():
        Image.fromarray(rng.integers(0, 256, shape, "uint8")).save(
            tmp_path / f"{name}.png"
        )
    for count in (700, 2000):
        wave = rng.integers(-9000, 9000, count, "int16")
        (tmp_path / f"{count}.wav").write_bytes(parts.wav(wave))
    given = [
        {"photo": "a.png", "title": "A red cup!", "sound": "700.wav", "facts": "3,r"},
        {"photo": "b.png", "title": "naïve 😀", "sound": "2000.wav", "facts": ",x"},
        {"photo": "c.png", "title": "", "sound": "", "facts": '2.5,"g"'},
        {"title": "hat", "facts": "1, pink "},
    ]
    asked = client("litert_client").Model(tmp_path / "all.tflite")
    tensors = {}
    for name, contract in mm.readers(model).items():
        cells = [row.get(name) or "" for row in given]
        if contract.cell == "file":
            cells = [x and (tmp_path / x).read_bytes() for x in cells]
        tensors[name] = contract.read(tf.constant(cells)).numpy()
        tensors[f"{name}_present"] = contract.presence(tf.constant(cells)).numpy()
    logits = model.predict(tensors, verbose=0)
    for i, row in enumerate(given):
        row = {
            name: str(tmp_path / x) if name in ("photo", "sound") and x else x
            for name, x in row.items()
        }
        for name, x in row.items():
            if x:
                limit = 1e-2 if name == "photo" else 1e-6  # grey levels
                got = asked.read(name, x)
                np.testing.assert_allclose(got, tensors[name][i], atol=limit)
        answer = asked(row)
        np.testing.assert_allclose(answer["outputs"], logits[i], atol=1e-4)
    assert asked.named(answer)["class"] == everything.CLASSES[logits[-1].argmax()]
    with pytest.raises(ValueError, match="no .'colour'.*photo"):
        asked({"colour": "red"})
    client("litert_client").main(
        [str(tmp_path / "all.tflite"), "title=hat", "facts=1,pink"]
    )
    assert "'class'" in capsys.readouterr().out


HEADS = {
    "kind": mm.heads.classification(["cup", "hat"]).layer,
    "tags": mm.heads.multilabel(["wet", "cold", "dark"]).layer,
    "price": mm.heads.regression(1).layer,
    "plain": keras.layers.Dense(2),
}


def flat(named):
    """What the client says of one head, as a row of `mmkeras predict`."""
    found = {**named, **named.get("scores", {})}
    found |= {f"output_{i}": x for i, x in enumerate(named.get("outputs", []))}
    return {name: x for name, x in found.items() if name not in ("scores", "outputs")}


@pytest.mark.parametrize("heads", ["several", "tags", "price", "plain"])
def test_litert_names_every_kind_of_head(client, heads, tmp_path):
    """As the library decodes the same outputs, which has one dict for all heads."""
    several = heads == "several"
    model = everything.model(HEADS if several else HEADS[heads], names=("title",))
    path = tmp_path / "all.tflite"
    mm.export.tflite(model, path)
    asked, loaded = client("litert_client").Model(path), mm.export.load(path)
    key = "tags" if several else "outputs"
    own = {key: [0.0, 1.0, 0.5]} if heads in ("several", "tags") else None
    for limits in (None, own):
        if limits:
            asked.card["thresholds"] = loaded.card["thresholds"] = limits
        for title in ("A red cup", "naïve hat", "blue", ""):
            answer = asked({"title": title})
            named = asked.named(answer)
            got = flat(named) if not several else {}
            for name, x in named.items() if several else ():
                got |= {f"{name}_{k}": v for k, v in flat(x).items()}
            outputs = {name: answer[name][None] for name in loaded.card["outputs"]}
            (wanted,) = loaded.decode(outputs)
            words = {k: x for k, x in wanted.items() if isinstance(x, str)}
            assert words == {k: x for k, x in got.items() if isinstance(x, str)}
            assert set(got) == set(wanted)
            for name in set(wanted) - set(words):
                assert got[name] == pytest.approx(wanted[name], abs=1e-6)
            if limits:
                chosen = words["tags_class" if several else "class"]
                assert "wet" in chosen and "cold" not in chosen


@pytest.mark.parametrize("value", [",", " , ", '"",""'])
def test_litert_line_of_empty_fields_is_absent(client, value, tmp_path):
    model = everything.model(names=("title", "facts"))
    mm.export.tflite(model, tmp_path / "all.tflite")
    asked = client("litert_client").Model(tmp_path / "all.tflite")
    contract = mm.readers(model)["facts"]
    raw = tf.constant([value])
    assert contract.presence(raw).numpy().tolist() == [0]
    np.testing.assert_array_equal(asked.read("facts", value), contract.read(raw)[0])
    rows = {name: np.zeros((1, *x.shape[1:])) for name, x in model.input.items()}
    rows["title_present"][:] = 1
    rows["title"][:] = mm.readers(model)["title"].read_cell("hat")
    answer = asked({"title": "hat", "facts": value})["outputs"]
    np.testing.assert_allclose(answer, model.predict(rows, verbose=0)[0], atol=1e-5)
    there = asked({"title": "hat", "facts": "3,"})["outputs"]
    assert np.abs(there - answer).max() > 1e-3


@pytest.mark.parametrize("size", [(8, 8), (13, 11)])
def test_litert_pictures_of_many_depths(client, size, tmp_path):
    """Grey of 16, 8 and 1 bits, palettes and 16-bit colours, as `Pixels` reads them."""
    from PIL import Image

    picture = client("litert_client").picture
    rng = np.random.default_rng(0)
    deep = rng.integers(0, 65536, size, "uint16")
    few = rng.integers(0, 256, size, "uint8")
    made = {
        "grey16": Image.fromarray(deep),
        "grey8": Image.fromarray(few),
        "grey1": Image.fromarray(few > 128),
        "palette": Image.fromarray(few).convert("P"),
        "both": Image.fromarray(np.stack([few, few.T.reshape(size)], -1), "LA"),
    }
    for name, image in made.items():
        image.save(tmp_path / f"{name}.png")
    colours = tf.constant(rng.integers(0, 65536, (*size, 3)), tf.uint16)
    encoded = tf.io.encode_png(colours).numpy()
    (tmp_path / "colours16.png").write_bytes(encoded)
    contract = mm.image.Pixels((8, 8))
    for file in sorted(tmp_path.glob("*.png")):
        wanted = contract.read(tf.constant([file.read_bytes()])).numpy()[0]
        got = picture(file, size=(8, 8))
        np.testing.assert_allclose(got, wanted, atol=1e-2, err_msg=file.name)


def test_litert_needs_no_tensorflow():
    text = (SERVING / "litert_client.py").read_text()
    names = set(re.findall(r"^(?:import|from) (\w+)", text, re.M))
    assert names - set(sys.stdlib_module_names) == {"ai_edge_litert", "numpy", "PIL"}
