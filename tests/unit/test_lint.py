"""References that would leave the site are found, with their line; the site's own are left alone."""

from __future__ import annotations

import pytest

from teraferry.builder.lint import MAX_LINE_CHARACTERS, Lint, split_reference
from teraferry.bundles.errors import BuildError

DIGEST = "sha256:" + "a" * 64
IMAGES = {"terachat/api": frozenset({DIGEST}), "terachat/web": frozenset({DIGEST})}


def findings(text: str, name: str = "compose.yml") -> list[str]:
    lint = Lint(version="4.2.0", images=IMAGES)
    lint.check(text.splitlines(), name=name, file=name)
    try:
        lint.require_clean()
    except BuildError as error:
        found = error.facts["findings"]
        return [line for line in found if isinstance(line, str)] if isinstance(found, list) else []
    return []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compose.yml", "    image: nginx"),
        ("compose.yml", "    image: nginx:1.25 # the proxy"),
        ("compose.yml", "    image: 'library/nginx:1.25'"),
        ("compose.yml", "    image: &proxy nginx:1.25"),
        ("compose.yml", "    image: docker.io/library/nginx"),
        ("compose.yml", "    image: docker.io/terachat/api:4.2.0"),
        ("compose.yml", "    image: terachat/api:latest"),
        ("compose.yml", "    image: terachat/api"),
        ("compose.yml", "    image: terachat/api@sha256:" + "b" * 64),
        ("compose.yml", "    image: ${REGISTRY:-docker.io}/terachat/api:4.2.0"),
        ("compose.yml", "    image: ${API_IMAGE:-nginx:1.25}"),
        ("compose.yml", "    image: registry.vendor.com/other:1"),
        ("compose.yml", "    pull_policy: always"),
        ("deploy.yaml", "        - image: ghcr.io/vendor/app:1"),
        ("deploy.yaml", "        - {name: a, image: quay.io/vendor/app:1}"),
        ("deploy.yaml", "        imagePullPolicy: Always"),
        ("deploy.yaml", '        "imagePullPolicy": "Always"'),
        ("deploy.yaml", "          registry: registry.k8s.io/pause"),
        ("deploy.yaml", "        url: https://example.org/app.tar"),
        ("deploy.yaml", "        url: http://203.0.113.9.nip.io/x"),
        ("values.json", '{"a": 1, "image": "mcr.microsoft.com/dotnet/runtime:8.0"}'),
        ("values.json", '  "image": "redis",'),
        ("app.container", "Image=public.ecr.aws/nginx/nginx:1"),
        ("app.container", "Pull=newer"),
        ("app.env", "export API_IMAGE=redis:7"),
        ("app.toml", 'image = "gcr.io/vendor/app"'),
        ("app.service", "ExecStartPre=/usr/bin/docker pull redis:7"),
        ("app.service", "ExecStart=/usr/bin/podman run --rm --name redis -p 80:80 -v /a:/b redis:7 --port 6379"),
        ("app.service", "ExecStart=docker run -it --network=host -e A=b redis"),
        ("app.service", "ExecStart=podman run --pull=always ${REGISTRY}/terachat/api:4.2.0"),
        ("app.service", "ExecStart=/usr/bin/curl -o /tmp/x https://get.example.org/x"),
        ("app.service", "Environment=API_IMAGE=redis:7"),
    ],
)
def test_reference_that_would_leave_the_site_is_found(name: str, text: str) -> None:
    found = findings(f"first line\n{text}\n", name)

    assert len(found) == 1
    assert found[0].startswith(f"{name}:2: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compose.yml", "    image: terachat/api:4.2.0"),
        ("compose.yml", f"    image: terachat/api@{DIGEST}"),
        ("compose.yml", "    image: ${REGISTRY}/terachat/api:4.2.0"),
        ("compose.yml", "    image: localhost:5000/terachat/api:4.2.0"),
        ("compose.yml", "    image: registry.hanoi.gov.vn/terachat/api:4.2.0"),
        ("compose.yml", "    image: registry.site.local/other:1"),
        ("compose.yml", "    image: 10.0.0.5:5000/other:1"),
        ("compose.yml", "    image: ${API_IMAGE}"),
        ("compose.yml", "    image: ${REGISTRY:-localhost:5000}/terachat/api:${VERSION:-4.2.0}"),
        ("compose.yml", "    # image: nginx"),
        ("compose.yml", "    image:"),
        ("compose.yml", "      url: http://api:8080/health"),
        ("compose.yml", "      url: https://terachat.site.local/x"),
        ("compose.yml", "      url: http://10.1.2.3/x"),
        ("compose.yml", "      url: http://[fd00::1]:80/x"),
        ("compose.yml", "      org.opencontainers.image.source: https://github.com/vendor/app"),
        ("deploy.yaml", "        imagePullPolicy: IfNotPresent"),
        ("deploy.yaml", "        image: '{{ .Values.registry }}/terachat/api:4.2.0'"),
        ("app.service", "Documentation=https://docs.example.org/app"),
        ("app.service", "ExecStart=/usr/bin/podman run -d --name api ${REGISTRY}/terachat/api:4.2.0"),
        ("app.service", "ExecStart=/usr/bin/podman start redis"),
        ("app.container", "Image=app.build"),
        ("app.json", '{"$schema": "https://json-schema.org/x", "license": "https://example.org/l"}'),
        ("app.json", '  "image": "logo.png",'),
        ("app.toml", 'image = "/usr/share/logo"'),
    ],
)
def test_reference_that_stays_at_the_site_is_left_alone(name: str, text: str) -> None:
    assert findings(text, name) == []


def test_command_over_several_lines_is_found_at_its_first() -> None:
    found = findings("[Service]\nExecStart=podman run \\\n  --rm \\\n  redis:7\n", "app.service")

    assert [item.split(": ")[0] for item in found] == ["app.service:2"]


def test_every_finding_is_listed_and_the_first_is_the_error() -> None:
    lint = Lint(version="4.2.0", images={})
    lint.check(["image: a", "image: b"], name="x.yml", file="x.yml")

    with pytest.raises(BuildError) as caught:
        lint.require_clean()

    assert (caught.value.reference, caught.value.exit_status) == ("reference-leaves-site", 30)
    assert (caught.value.facts["file"], caught.value.facts["line"], caught.value.facts["found"]) == ("x.yml", 1, "a")
    assert len(findings("image: a\nimage: b")) == 2


@pytest.mark.parametrize("name", ["a.yml", "a.YAML", "a.service", "a.container", "a.kube", ".env", "a.toml", "a.json"])
def test_text_files_are_linted_by_their_suffix(name: str) -> None:
    assert Lint(version="1", images={}).is_linted(name, "source")


def test_file_with_another_suffix_is_linted_when_its_source_is_text() -> None:
    assert Lint(version="1", images={}).is_linted("compose", "build/compose.yml")
    assert not Lint(version="1", images={}).is_linted("bin/weed", "dist/weed")


def test_very_long_line_is_looked_through_in_time() -> None:
    assert findings("x" * MAX_LINE_CHARACTERS, "a.json") == []
    assert findings("a." * (MAX_LINE_CHARACTERS // 2), "a.yml") == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nginx", (None, "nginx", "", "")),
        ("a/b:1", (None, "a/b", "1", "")),
        ("localhost/b:1", ("localhost", "b", "1", "")),
        ("h:5000/a/b:1@sha256:00", ("h:5000", "a/b", "1", "sha256:00")),
        ("${R:-h:5000/x}/a:${T:-1}", ("${R:-h:5000/x}", "a", "${T:-1}", "")),
    ],
)
def test_image_reference_is_split_as_docker_does(text: str, parts: tuple[str | None, str, str, str]) -> None:
    assert split_reference(text) == parts
