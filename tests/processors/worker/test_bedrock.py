"""A candidate on Bedrock: signed as AWS writes that it is to be signed, checked by code of its own."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from shadowlane.errors import ConfigError
from shadowlane.processors.worker.target import Plan
from shadowlane.schemas.config import Rollout, Worker
from tests.processors.worker.serving import Got, asked, shadow

KEY_ID, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session/token+"
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CHAT = {
    "model": "old",
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Wo ist es? ä"}],
    "max_tokens": 9,
    "stream": True,
    "seed": 1,
}
ANSWER = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm"}}},
                {"text": "Tomorrow."},
                {"toolUse": {"toolUseId": "t1", "name": "look_up", "input": {"id": 7}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 5, "outputTokens": 2, "totalTokens": 10, "cacheReadInputTokens": 3},
    "metrics": {"latencyMs": 1},
}


def verify(got: Got, secret: str, region: str) -> None:
    """As https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html has it."""
    algorithm, _, fields = got.headers["authorization"].partition(" ")
    parts = dict(field.strip().split("=", 1) for field in fields.split(","))
    key_id, day, *scope = parts["Credential"].split("/")
    assert (algorithm, key_id, scope) == ("AWS4-HMAC-SHA256", KEY_ID, [region, "bedrock", "aws4_request"])
    names = parts["SignedHeaders"].split(";")
    assert {"host", "x-amz-date"} <= set(names)
    path = got.path.replace("%", "%25")  # encoded twice, but for S3
    headers = "".join(f"{name}:{' '.join(got.headers[name].split())}\n" for name in names)
    hashed = hashlib.sha256(got.raw).hexdigest()
    canonical = "\n".join([got.method, path, "", headers, parts["SignedHeaders"], hashed])
    stamp = got.headers["x-amz-date"]
    assert stamp.startswith(day)
    told = "\n".join(
        [algorithm, stamp, "/".join([day, *scope]), hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = f"AWS4{secret}".encode()
    for part in (day, *scope):
        key = hmac.digest(key, part.encode(), "sha256")
    assert hmac.digest(key, told.encode(), "sha256").hex() == parts["Signature"]


@pytest.fixture(autouse=True)
def _no_aws_but_this(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


def bedrock(answer: tuple[int, Any] = (200, ANSWER), **version: Any) -> tuple[Any, list[Got]]:
    values = {"model": MODEL, "bedrock": {"region": "eu-central-1"}} | version
    [response], got = shadow([asked(CHAT)], lambda _: answer, kind="bedrock", **values)
    return response, got


def test_a_call_is_signed_and_its_answer_read(monkeypatch: pytest.MonkeyPatch) -> None:
    keys(monkeypatch)
    response, [got] = bedrock(prompt={"append": "Be kind."})
    assert got.path == "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
    verify(got, SECRET, "eu-central-1")
    with pytest.raises(AssertionError):
        verify(got, SECRET + "x", "eu-central-1")
    assert got.headers["x-amz-security-token"] == TOKEN
    assert got.body == {
        "messages": [{"role": "user", "content": [{"text": "Wo ist es? ä"}]}],
        "system": [{"text": "Be short."}, {"text": "Be kind."}],
        "inferenceConfig": {"maxTokens": 9},
    }
    assert (response.error, response.output, response.finish_reason) == ("", "Tomorrow.", "tool_calls")
    assert response.tool_calls == [{"name": "look_up", "arguments": '{"id":7}'}]
    assert (response.input_tokens, response.output_tokens, response.left_out) == (8, 2, ["seed"])
    assert (response.model, len(response.fingerprint)) == (MODEL, 25)  # parameters-prompt


def test_the_keys_of_a_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = f"[shadow]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(text)
    (tmp_path / "config").write_text("[profile shadow]\nregion = us-west-2\n")
    response, [got] = bedrock(
        model="arn:aws:bedrock:us-west-2:1:inference-profile/a.b", bedrock={"profile": "shadow"}
    )
    assert got.path == "/model/arn%3Aaws%3Abedrock%3Aus-west-2%3A1%3Ainference-profile%2Fa.b/converse"
    verify(got, SECRET, "us-west-2")
    assert response.error == ""


def test_a_key_of_bedrocks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEDROCK_KEY", "bedrock-key")
    response, [got] = bedrock(api_key_env="BEDROCK_KEY")
    assert got.headers["authorization"] == "Bearer bedrock-key"
    assert response.error == ""


def test_what_bedrock_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    keys(monkeypatch)
    response, _ = bedrock((429, {"message": "Too many requests, please wait."}))
    assert (response.error, response.error_message) == ("throttled", "Too many requests, please wait.")
    response, _ = bedrock((403, {"message": "You don't have access to the model."}))
    assert (response.error, response.error_message) == ("http", "You don't have access to the model.")
    response, _ = bedrock((200, {"output": {}}))
    assert (response.error, response.error_message) == ("bad_response", "the answer is none of Converse")


@pytest.mark.parametrize(
    ("region", "profile", "has_keys", "said"),
    [
        ("", "", True, "candidate.bedrock.region is not given"),
        ("eu-central-1", "", False, "no AWS keys where AWS' tools look for them"),
        ("eu-central-1", "nobody", True, "nobody"),
    ],
)
def test_what_is_missing_is_said_before_the_first_call(
    monkeypatch: pytest.MonkeyPatch, region: str, profile: str, has_keys: bool, said: str
) -> None:
    if has_keys:
        keys(monkeypatch)
    candidate = {"kind": "bedrock", "model": "m", "bedrock": {"region": region, "profile": profile}}
    with pytest.raises(ConfigError, match=said):
        Plan.of(Rollout.model_validate({"name": "r", "candidate": candidate}), Worker())
