"""The description of the server's HTTP interface in OpenAPI 3.1."""

from __future__ import annotations

from typing import Any

import msgspec

import rnnx
from rnnx.serve.protocol import DATATYPES, LONGEST_NAME, MOST_AXES, InferBody
from rnnx.serve.settings import Settings

NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
TENSOR_INFO: dict[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"enum": sorted(DATATYPES)},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}},
    },
}
TENSOR_OUT = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        **TENSOR_INFO["properties"],
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {"type": "number"}},
    },
}
WHY = {
    400: "What is sent is not a request of the protocol, or does not fit the model",
    401: "No token, or a wrong one",
    404: "No such model or version",
    408: "The request did not arrive in time",
    409: "The sequence began again while the request waited",
    413: "The request is too large",
    415: "An unknown content-encoding",
    429: "Too much waits already; Retry-After says when to try again",
    500: "The model failed",
    503: "The process that held the sequence has gone",
    504: "No answer in time",
}


def description(settings: Settings) -> dict[str, Any]:
    """The description of a server with these settings."""
    (body,), schemas = msgspec.json.schema_components([InferBody], ref_template="#/components/schemas/{name}")
    tensor = schemas["TensorIn"]["properties"]
    tensor["datatype"] = {"enum": sorted(DATATYPES)}
    tensor["shape"] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": MOST_AXES}
    tensor["data"] = {"type": "array", "items": {}}
    schemas["InferBody"]["properties"]["id"]["maxLength"] = LONGEST_NAME
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    model = {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": {"type": "string"},
            "versions": {"type": "array", "items": {"type": "string"}},
            "platform": {"type": "string"},
            "inputs": {"type": "array", "items": TENSOR_INFO},
            "outputs": {"type": "array", "items": TENSOR_INFO},
        },
    }
    answer = {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": TENSOR_OUT},
        },
    }
    schemas |= {"Error": error, "Model": model, "InferAnswer": answer}
    paths: dict[str, Any] = {
        "/v2/health/live": {"get": _get("live", "Whether the process answers", _flag("live"), secured=False)},
        "/v2/health/ready": {"get": _get("ready", "Whether to send requests", _flag("ready"), secured=False)},
        "/v2": {"get": _get("server", "Name, version and extensions", {"type": "object"})},
        "/v2/repository/index": {"post": _get("index", "The models", {"type": "array", "items": {"type": "object"}})},
        "/v2/models/stats": {"get": _get("stats", "Requests and times of all models", {"type": "object"})},
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Metrics for Prometheus",
                "responses": {"200": {"description": "Text", "content": {"text/plain": {}}}, **_errors(401)},
            }
        },
    }
    model_path = "/v2/models/{name}"
    bases = ((model_path, "", [NAME]), (model_path + "/versions/{version}", "_of_version", [NAME, VERSION]))
    for base, end, given in bases:
        about = _get(f"model{end}", "Inputs and outputs", {"$ref": "#/components/schemas/Model"}, (404,))
        ready = _get(f"model_ready{end}", "Whether the model is ready", _flag("ready"), (404,))
        config = _get(f"model_config{end}", "The same in Triton's words", {"type": "object"}, (404,))
        stats = _get(f"model_stats{end}", "Requests and times in Triton's words", {"type": "object"}, (404,))
        paths[base] = {"parameters": given, "get": about}
        paths[base + "/stats"] = {"parameters": given, "get": stats}
        paths[base + "/ready"] = {"parameters": given, "get": ready}
        paths[base + "/config"] = {"parameters": given, "get": config}
        paths[base + "/infer"] = {"parameters": given, "post": _infer(end, body, settings)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rnnx",
            "version": rnnx.__version__,
            "description": "The Open Inference Protocol v2 with Triton's extensions for binary tensors and sequences. "
            "Streams go over a WebSocket at /v2/models/{name}/stream.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        **({"security": [{"token": []}]} if settings.tokens else {}),
    }


def _flag(name: str) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}


def _errors(*statuses: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(status): {"description": WHY[status], "content": content} for status in statuses}


def _get(name: str, summary: str, schema: Any, errors: tuple[int, ...] = (), secured: bool = True) -> dict[str, Any]:
    done = {"200": {"description": "Done", "content": {"application/json": {"schema": schema}}}}
    found = {"operationId": name, "summary": summary, "responses": {**done, **_errors(401, *errors)}}
    if not secured:
        found |= {"security": [], "responses": {**done, **_errors(*errors)}}
    return found


def _infer(end: str, body: Any, settings: Settings) -> dict[str, Any]:
    binary = {"schema": {"type": "string", "contentEncoding": "binary", "maxLength": settings.max_body}}
    answer = {
        "application/json": {"schema": {"$ref": "#/components/schemas/InferAnswer"}},
        "application/octet-stream": binary,
    }
    return {
        "operationId": f"infer{end}",
        "summary": "Run the model, or feed a sequence of it",
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "description": "Bytes of JSON at the start of the body, behind which tensors follow as bytes",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "The outputs", "content": answer},
            **_errors(400, 401, 404, 408, 409, 413, 415, 429, 500, 503, 504),
        },
    }
