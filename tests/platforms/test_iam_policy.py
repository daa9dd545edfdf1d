"""The IAM policies: well-formed, enough for a search, and not one right more.

The store is a moto server that authenticates; its evaluation of a policy knows actions and resources, no conditions.
"""

from __future__ import annotations

import copy
import json
import urllib.request
import uuid
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import botocore.session
import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from spark_nas import object_store
from spark_nas.cli import main
from spark_nas.storage.locations import open_files
from spark_nas.storage.probe import probe
from tests.platforms.schemas import Document, read
from tests.s3_endpoint import s3_endpoint

RUNTIME = "emr/iam-runtime.json"


@pytest.mark.parametrize("name", [RUNTIME, "emr/iam-submit.json"])
def test_a_policy_is_one_by_the_schema_and_a_misspelt_key_is_none(name: str):
    schemas = resources.files("cfnlint") / "data" / "schemas" / "other" / "iam"
    base = json.loads((schemas / "policy.json").read_text())
    schema = json.loads((schemas / "policy_identity.json").read_text())
    registry = Registry().with_resource("policy", Resource.from_contents(base, default_specification=DRAFT202012))
    validator = jsonschema.Draft202012Validator(schema, registry=registry)
    document = _filled(read(name), "nas")
    assert [] == [error.message for error in validator.iter_errors(document)]
    for key in document["Statement"][0]:
        changed = copy.deepcopy(document)
        changed["Statement"][0][f"{key}x"] = changed["Statement"][0].pop(key)
        assert list(validator.iter_errors(changed))


def _filled(document: Document, bucket: str) -> Document:
    text = json.dumps(document).replace("BUCKET", bucket).replace("ACCOUNT", "123456789012")
    return json.loads(text.replace("REGION", "eu-west-1"))


class Account(NamedTuple):
    """A store on which a role of its own may do only what its policy says."""

    endpoint: str
    bucket: str

    def unguarded(self, actions: int) -> None:
        """So many requests are let through unseen; then the guard is back."""
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/reset-auth", str(actions).encode(), {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).close()

    def user(self, policy: Document, monkeypatch: pytest.MonkeyPatch) -> None:
        """This process is from now on a new user with `policy`."""
        self.unguarded(3)
        name = uuid.uuid4().hex
        iam = botocore.session.get_session().create_client(
            "iam", region_name="us-east-1", endpoint_url=self.endpoint, aws_access_key_id="x", aws_secret_access_key="x"
        )
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="it", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        monkeypatch.setenv("AWS_ENDPOINT_URL", self.endpoint)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        object_store._client.cache_clear()  # clients keep the keys that they were made with


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    with s3_endpoint(authenticating=True) as s3:
        yield Account(s3.endpoint, s3.bucket)
    object_store._client.cache_clear()


def search(account: Account, tmp_path: Path) -> int:
    (tmp_path / "e.yaml").write_text(
        "{space: mlp, scheduler: {name: hyperband, max_resource: 3}, evaluator: synthetic}"
    )
    output = f"s3://{account.bucket}/runs/{uuid.uuid4().hex}"
    return max(
        not all(check.passed for check in probe(open_files(output))),  # the only one that must delete
        main(["search", str(tmp_path / "e.yaml"), "--output", output, "--run-id", "r"]),
        main(["compact", f"{output}/r"]),
        main(["status", f"{output}/r"]),
    )


@pytest.mark.slow
def test_a_search_needs_no_right_that_the_policy_does_not_give(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    account.user(_filled(read(RUNTIME), account.bucket), monkeypatch)
    assert 0 == search(account, tmp_path)
    for place in (f"s3://{account.bucket}/elsewhere", f"s3://{account.bucket}/data"):
        assert 2 == main(["search", str(tmp_path / "e.yaml"), "--output", place, "--run-id", "r"])


@pytest.mark.slow
@pytest.mark.parametrize("right", ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"])
def test_without_any_right_of_the_policy_a_search_fails(
    right: str, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    policy = _filled(read(RUNTIME), account.bucket)
    for statement in policy["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != right] or ["s3:GetBucketLocation"]
    account.user(policy, monkeypatch)
    assert 0 != search(account, tmp_path)


@pytest.mark.slow
def test_the_policy_reads_data_and_does_not_write_it(account: Account, monkeypatch: pytest.MonkeyPatch):
    files = open_files(f"s3://{account.bucket}/data")
    account.user(_filled(read(RUNTIME), account.bucket), monkeypatch)
    assert files.read("none") is None
    with pytest.raises(Exception, match=r"403|AccessDenied"):
        files.write("x", b"")
