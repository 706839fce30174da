"""Which provisioner is made of which settings, and what of the outside may get into a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan_core.config import MasterConfig
from titan_core.errors import ConfigError, ProvisioningFailed
from titan_core.master.provisioners import CommandProvisioner, WebhookProvisioner, _filled, make_provisioner

CLUSTER = bytes(range(16))


@pytest.mark.parametrize("name", ["inception", "none"])
def test_where_nobody_outside_is_asked(name: str) -> None:
    assert make_provisioner(MasterConfig(provisioner=name), CLUSTER) is None


def test_what_is_configured_is_made(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    webhook = MasterConfig(provisioner="webhook", webhook_url="http://host/", webhook_secret_file=str(secret))
    assert isinstance(make_provisioner(webhook, CLUSTER), WebhookProvisioner)
    assert isinstance(
        make_provisioner(MasterConfig(provisioner="command", provision_command="x"), b""), CommandProvisioner
    )


@pytest.mark.parametrize(
    "content, words", [(None, "can not be read: No such file"), ("", "is empty"), (" \n", "is empty")]
)
def test_a_secret_that_is_none_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_text(content)
    config = MasterConfig(provisioner="webhook", webhook_url="http://host/", webhook_secret_file=str(secret))
    with pytest.raises(ConfigError, match=words):
        make_provisioner(config, CLUSTER)


def test_values_are_filled_into_words() -> None:
    words = ["run", "--name={capability}-{count}", "{worker}", '{"spec": {}}', "{other}"]
    values = {"capability": "GPU", "count": "2"}
    assert _filled("x", words, values) == ["run", "--name=GPU-2", "{worker}", '{"spec": {}}', "{other}"]


@pytest.mark.parametrize(
    "value", ["", "-rf", "a b", "$(reboot)", "`id`", "a;b", "a\nb", "{count}", "a'b", "../x", "ä", "x" + "\0", "a\n"]
)
def test_a_value_that_could_mean_something_is_not_filled_in(value: str) -> None:
    with pytest.raises(ProvisioningFailed, match="only letters, digits"):
        _filled("x", ["run", "{worker}"], {"worker": value})
