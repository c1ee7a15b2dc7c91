"""A cluster that consists of an API server only, on which one version of helm installs and changes a release."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tests.kubernetes.chart import CHART, NAMESPACE, RELEASE, by_name, parse
from tests.services.kubernetes_api import server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kubernetes.chart import Object
    from tests.services.chart_tools import Helm
    from tests.services.kubernetes_api.server import KubernetesApi

_PACKS = "realtime-asr/packs"


@dataclass
class Cluster:
    """The server and the release on it. `rendered` has the objects of the release as its last change rendered them."""

    api: KubernetesApi
    helm: Helm
    directory: Path
    chart: Path = CHART
    rendered: dict[str, Object] = field(default_factory=dict)
    history: list[dict[str, Object]] = field(default_factory=list)
    kept: dict[str, Object] = field(default_factory=dict)

    def install(self, values: dict[str, Any]) -> list[str]:
        """Install the release; return what was created."""
        return self._deploy("install", values)

    def upgrade(self, values: dict[str, Any]) -> list[str]:
        """Upgrade the release; return what was created, changed and deleted."""
        return self._deploy("upgrade", values)

    def roll_back(self, revision: int) -> list[str]:
        """Roll back to a revision, the first of which is 1; return what was created, changed and deleted."""
        self.run("rollback", RELEASE, str(revision))
        return self._compared(self.history[revision - 1])

    def uninstall(self) -> list[str]:
        """Uninstall the release; return what was deleted."""
        self.run("uninstall", RELEASE)
        changes, self.rendered, self.history = self._changes({}), {}, []
        return changes

    def switch(self, helm: Helm) -> None:
        """Use another version of helm from now on."""
        self.helm = replace(helm, kubeconfig=self.helm.kubeconfig)

    def keep(self, name: str) -> None:
        """Expect that an object, which has the policy `keep`, stays after it is no longer rendered."""
        self.kept[name] = self.rendered[name]

    def run(self, *arguments: str | Path) -> str:
        """Run `helm ARGUMENTS` in the namespace of the release; return its standard output."""
        return self.helm.run(*arguments, "--namespace", NAMESPACE)

    def uid(self, name: str) -> str:
        """Return the unique identifier of an object: another one means that it was deleted and created again."""
        kind, _, name = name.partition("/")
        found = (thing for key, thing in self.api.store.objects.items() if (thing["kind"], key.name) == (kind, name))
        return str(next(found)["metadata"]["uid"])

    def delete(self, kind: str) -> None:
        """Delete all objects of a kind, as with `kubectl delete --cascade=orphan`."""
        for key, thing in list(self.api.store.objects.items()):
            if thing["kind"] == kind:
                self.api.store.delete(key)
        self.api.changes()
        self.rendered = {name: thing for name, thing in self.rendered.items() if thing["kind"] != kind}

    def _deploy(self, action: str, values: dict[str, Any]) -> list[str]:
        file = self.directory / "values.json"
        file.write_text(json.dumps(values))
        rendered = by_name(parse(self.run("template", RELEASE, self.chart, "--values", file)))
        self.run(action, RELEASE, self.chart, "--values", file)
        return self._compared(rendered)

    def _compared(self, rendered: dict[str, Object]) -> list[str]:
        """Compare the server's objects with the rendered ones; return the changes, none of which is unnecessary."""
        assert self.api.refusals == []
        assert self.api.objects() == self.kept | rendered
        changes = self._changes(rendered)
        self.rendered = rendered
        self.history.append(rendered)
        return changes

    def _changes(self, rendered: dict[str, Object]) -> list[str]:
        """Return the changes, with the packs of a Job in place of its name."""
        old, changes = self.rendered, self.api.changes()
        assert len(set(changes)) == len(changes)
        for change in changes:
            name = change.split(" ", 1)[1]
            assert old.get(name) != rendered.get(name), change
        return sorted(_with_packs(change, old | rendered) for change in changes)


@contextlib.contextmanager
def cluster(helm: Helm, directory: Path) -> Iterator[Cluster]:
    """Run an empty cluster."""
    with server.serve() as api:
        yield Cluster(api, replace(helm, kubeconfig=api.write_kubeconfig(directory)), directory)


def _with_packs(change: str, things: dict[str, Object]) -> str:
    verb, _, name = change.partition(" ")
    packs = things[name]["metadata"].get("annotations", {}).get(_PACKS)
    return f"{verb} Job/{packs}" if packs else change
