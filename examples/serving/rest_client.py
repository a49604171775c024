"""Asks TF Serving by REST, with Python's standard library alone.

python rest_client.py photo=@cup.jpg title="A red cup" sound=@cup.wav
{'class': 'cup', 'scores': {'cup': 0.93, 'hat': 0.07}}
"""

import base64
import json
import urllib.error
import urllib.request

import fields


def predict(rows, url, model, endpoint="serve_raw", form="instances", timeout=30):
    """Answers for some rows.

    Args:
        rows: list of dicts, modality -> bytes of a picture or a WAV file, or a string;
            "" where it is absent. One row at least names every modality.
        url: string, such as "http://localhost:8501".
        model: name, or name and version: "products/versions/3".
        endpoint: "serve_raw" or "features".
        form: "instances", a dict a row, or "inputs", a list a modality.
        timeout: seconds.

    Returns:
        list of dicts, a row each: output -> number, string or list.
    """
    names = sorted({name for row in rows for name in row})
    columns = {name: [_json(row.get(name, "")) for row in rows] for name in names}
    request = {"signature_name": endpoint, "inputs": columns}
    if form == "instances":
        values = zip(*columns.values(), strict=True)
        made = [dict(zip(names, x, strict=True)) for x in values]
        request = {"signature_name": endpoint, "instances": made}
    answer = _post(f"{url}/v1/models/{model}:predict", request, timeout)
    if form == "instances":
        found = answer["predictions"]
        # TF Serving leaves the name of a single output out
        return [x if isinstance(x, dict) else {"outputs": x} for x in found]
    found = answer["outputs"]
    found = found if isinstance(found, dict) else {"outputs": found}
    found_rows = zip(*found.values(), strict=True)
    return [dict(zip(found, x, strict=True)) for x in found_rows]


def _json(value):
    """Bytes in base64, as TF Serving wants what is no UTF-8; strings as they are."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value


def _post(url, body, timeout):
    data = json.dumps(body).encode("utf-8")
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace")
        try:
            text = json.loads(text)["error"]
        except (ValueError, KeyError, TypeError):  # a proxy's page, say
            pass
        raise ValueError(f"{url} answers {error.code}: {text}") from error


def named(answer):
    """An answer for people: the class, and a score under each class's name."""
    if "classes" not in answer:
        return answer
    scores = dict(zip(answer["classes"], answer["scores"], strict=True))
    found = {"class": answer["class"]} if "class" in answer else {}
    return {**found, "scores": scores}


def main(argv=None):
    text = "Asks TF Serving by REST about one row."
    parser = fields.parser(text, url="http://localhost:8501", model="products")
    parser.add_argument("--form", choices=("instances", "inputs"), default="instances")
    given = parser.parse_args(argv)
    row = dict(given.fields)
    (answer,) = predict([row], given.url, given.model, form=given.form)
    print(named(answer))


if __name__ == "__main__":
    main()
