"""Every flag of the plugins' programs: its kind, its variables in order of precedence, its default.

One row for each flag, as few programs as share it exactly: the letters of the programs, the
flag's name, its kind, its variables (without ``PLUGIN_``, or with ``$`` before the whole name),
and its default where it is not empty, false or 0.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal, cast

from attrs import frozen

__all__ = ["PROGRAMS", "Flag", "Kind", "flags_of"]

Kind = Literal["str", "bool", "bool-T", "int", "csv", "ssv"]
"""bool-T is true where nothing is set; csv is split at commas, ssv at semicolons."""

PROGRAMS: Final = {
    "docker": "D",
    "buildx": "X",
    "buildah": "A",
    "kaniko": "d",
    "kaniko-ecr": "e",
    "kaniko-gcr": "g",
    "kaniko-gar": "r",
    "kaniko-acr": "z",
}
"""The programs by name, with the letter that stands for each in the table."""

_TABLE: Final = """\
DX       dry-run bool DRY_RUN NO_PUSH
DXA      remote.url str $DRONE_REMOTE_URL
DXA      commit.sha str $DRONE_COMMIT_SHA = 00000000
DXA      commit.ref str $DRONE_COMMIT_REF
DX       daemon.mirror str MIRROR $DOCKER_PLUGIN_MIRROR
DX       daemon.storage-driver str STORAGE_DRIVER
DX       daemon.storage-path str STORAGE_PATH = /var/lib/docker
DX       daemon.bip str BIP
DX       daemon.mtu str MTU
DX       daemon.dns csv CUSTOM_DNS
DX       daemon.dns-search csv CUSTOM_DNS_SEARCH
DX       daemon.insecure bool INSECURE
DX       daemon.ipv6 bool IPV6
D        daemon.experimental bool EXPERIMENTAL
DX       daemon.debug bool DEBUG $DOCKER_LAUNCH_DEBUG
DX       daemon.off bool DAEMON_OFF
DX       daemon.retry-count int DAEMON_RETRY_COUNT = 15
DXAdegrz dockerfile str DOCKERFILE = Dockerfile
DXAdegrz context str CONTEXT = .
DXA      tags csv TAG TAGS = latest
DXA      tags.auto bool DEFAULT_TAGS AUTO_TAG
DXA      tags.suffix str DEFAULT_SUFFIX AUTO_TAG_SUFFIX
DXAdegrz args csv BUILD_ARGS
DXA      args-from-env csv BUILD_ARGS_FROM_ENV
DXdegrz  args-new ssv BUILD_ARGS_NEW
DXdegrz  plugin-multiple-build-agrs bool MULTIPLE_BUILD_ARGS
DXA      quiet bool QUIET
DXAdegrz target str TARGET
D        cache-from csv CACHE_FROM
DXA      squash bool SQUASH
DXA      pull-image bool-T PULL_IMAGE
DXA      compress bool COMPRESS
DXAdegrz repo str REPO
DXAdegrz custom-labels csv CUSTOM_LABELS
DXA      label-schema csv LABEL_SCHEMA
DXA      auto-label bool-T AUTO_LABEL
DXA      link str REPO_LINK $DRONE_REPO_LINK
DXA      docker.registry str REGISTRY $DOCKER_REGISTRY = https://index.docker.io/v1/
DXA      docker.username str USERNAME $DOCKER_USERNAME
DXA      docker.password str PASSWORD $DOCKER_PASSWORD
D        docker.baseimageusername str DOCKER_USERNAME BASE_IMAGE_USERNAME $DOCKER_BASE_IMAGE_USERNAME
D        docker.baseimagepassword str DOCKER_PASSWORD BASE_IMAGE_PASSWORD $DOCKER_BASE_IMAGE_PASSWORD
D        docker.baseimageregistry str DOCKER_REGISTRY BASE_IMAGE_REGISTRY $DOCKER_BASE_IMAGE_REGISTRY
DXA      docker.email str EMAIL $DOCKER_EMAIL
DXA      docker.config str CONFIG $DOCKER_PLUGIN_CONFIG
DXA      docker.purge bool-T PURGE
DXA      repo.branch str $DRONE_REPO_BRANCH
DXA      no-cache bool NO_CACHE
DXA      add-host csv ADD_HOST
DX       secret str SECRET
DX       secrets-from-env csv SECRETS_FROM_ENV
DX       secrets-from-file csv SECRETS_FROM_FILE
DX       drone-card-path str $DRONE_CARD_PATH
DX       platform str PLATFORM
DX       ssh-agent-key str SSH_AGENT_KEY
DXdegrz  artifact-file str ARTIFACT_FILE
DX       registry-type str REGISTRY_TYPE
DX       access-token str $ACCESS_TOKEN
D        cosign.private-key str COSIGN_PRIVATE_KEY
D        cosign.password str COSIGN_PASSWORD
D        cosign.params str COSIGN_PARAMS
DXderz   push-only bool PUSH_ONLY
DX       source-image str SOURCE_IMAGE
X        artifact.registry str $ARTIFACT_REGISTRY REGISTRY $DOCKER_REGISTRY = https://index.docker.io/v1/
X        cache-from ssv CACHE_FROM
X        cache-to ssv CACHE_TO
X        path-style bool PATH_STYLE $AWS_PLUGIN_PATH_STYLE
X        cache-tls-insecure bool CACHE_TLS_INSECURE
X        docker.baseimageusername str DOCKER_USERNAME BASE_IMAGE_USERNAME
X        docker.baseimagepassword str DOCKER_PASSWORD BASE_IMAGE_PASSWORD
X        docker.baseimageregistry str DOCKER_REGISTRY BASE_IMAGE_REGISTRY
X        builder-name str BUILDER_NAME
X        builder-daemon-config str BUILDER_CONFIG
X        builder-driver str BUILDER_DRIVER
X        builder-driver-opts ssv BUILDER_DRIVER_OPTS
X        builder-driver-opts-new ssv BUILDER_DRIVER_OPTS_NEW
X        builder-remote-conn str BUILDER_REMOTE_CONN
X        buildx-load bool BUILDX_LOAD
X        metadata-file str METADATA_FILE
X        cache-metrics-file str CACHE_METRICS_FILE
X        use-loaded-buildkit bool-T USE_LOADED_BUILDKIT
X        buildkit-assets-dir str BUILDKIT_ASSETS_DIR = buildkit
X        buildkit-version str BUILDKIT_VERSION
X        buildkit-tls-handshake-timeout str BUILDKIT_TLS_HANDSHAKE_TIMEOUT
X        buildkit-response-header-timeout str BUILDKIT_RESPONSE_HEADER_TIMEOUT
X        harness-self-hosted-s3-access-key str HARNESS_SELF_HOSTED_S3_ACCESS_KEY
X        harness-self-hosted-s3-secret-key str HARNESS_SELF_HOSTED_S3_SECRET_KEY
X        harness-self-hosted-gcp-json-key str HARNESS_SELF_HOSTED_GCP_JSON_KEY
X        harness-self-hosted-azure-account-key str HARNESS_SELF_HOSTED_AZURE_ACCOUNT_KEY
X        harness-self-hosted-azure-tenant-id str HARNESS_SELF_HOSTED_AZURE_TENANT_ID
X        harness-self-hosted-azure-client-id str HARNESS_SELF_HOSTED_AZURE_CLIENT_ID
X        harness-self-hosted-azure-client-secret str HARNESS_SELF_HOSTED_AZURE_CLIENT_SECRET
X        harness-self-hosted-azure-oidc-token str HARNESS_SELF_HOSTED_AZURE_OIDC_TOKEN
X        buildx-options csv BUILDX_OPTIONS
X        buildx-options-semicolon str BUILDX_OPTIONS_SEMICOLON
X        bake-file str BAKE_FILE
X        bake-options str BAKE_OPTIONS
Xderz    source-tar-path str SOURCE_TAR_PATH
Xderz    tar-path str TAR_PATH DESTINATION_TAR_PATH
X        buildx-output-format str BUILDX_OUTPUT_FORMAT
X        buildkit-inherit-auth bool BUILDKIT_INHERIT_AUTH
A        dry-run bool DRY_RUN
A        s3-local-cache-dir str S3_LOCAL_CACHE_DIR
A        s3-bucket str S3_BUCKET
A        s3-endpoint str S3_ENDPOINT
A        s3-region str S3_REGION
A        s3-key str S3_ACCESS_KEY
A        s3-secret str S3_SECRET
A        s3-use-ssl bool S3_USE_SSL
A        layers bool LAYERS
degrz    drone-commit-ref str $DRONE_COMMIT_REF
degrz    drone-repo-branch str $DRONE_REPO_BRANCH
degrz    tags csv TAGS = latest
d        expand-repo bool EXPAND_REPO
degrz    expand-tag bool EXPAND_TAG
degrz    auto-tag bool AUTO_TAG
d        dockerconfig str CONFIG
degrz    auto-tag-suffix str AUTO_TAG_SUFFIX
d        registry str REGISTRY = https://index.docker.io/v1/
dgrz     base-image-registry str DOCKER_REGISTRY BASE_IMAGE_REGISTRY $DOCKER_REGISTRY
degrz    registry-mirrors csv REGISTRY_MIRRORS
d        username str USERNAME
dgrz     base-image-username str DOCKER_USERNAME BASE_IMAGE_USERNAME $DOCKER_USERNAME
d        password str PASSWORD
dgrz     base-image-password str DOCKER_PASSWORD BASE_IMAGE_PASSWORD $DOCKER_PASSWORD
d        skip-tls-verify bool SKIP_TLS_VERIFY
degrz    snapshot-mode str SNAPSHOT_MODE
degrz    enable-cache bool ENABLE_CACHE
degrz    cache-repo str CACHE_REPO
degrz    cache-ttl int CACHE_TTL
degrz    no-push bool NO_PUSH
degrz    verbosity str VERBOSITY
degrz    platform str PLATFORM CUSTOM_PLATFORM
degrz    skip-unused-stages bool SKIP_UNUSED_STAGES
d        output-file str $DRONE_OUTPUT
degrz    cache-dir str CACHE_DIR
degrz    cache-copy-layers bool CACHE_COPY_LAYERS
degrz    cache-run-layers bool CACHE_RUN_LAYERS
degrz    cleanup bool CLEANUP
degrz    compressed-caching bool COMPRESSED_CACHING
degrz    context-sub-path str CONTEXT_SUB_PATH
degrz    force bool FORCE
degr     image-name-with-digest-file str IMAGE_NAME_WITH_DIGEST_FILE
degrz    image-name-tag-with-digest-file str IMAGE_NAME_TAG_WITH_DIGEST_FILE
degrz    insecure bool INSECURE
degrz    insecure-pull bool INSECURE_PULL
degrz    insecure-registry str INSECURE_REGISTRY
degrz    log-format str LOG_FORMAT
degrz    log-timestamp bool LOG_TIMESTAMP
degrz    oci-layout-path str OCI_LAYOUT_PATH
degrz    push-retry int PUSH_RETRY
degrz    registry-certificate str REGISTRY_CERTIFICATE
degrz    registry-client-cert str REGISTRY_CLIENT_CERT
degrz    skip-default-registry-fallback bool SKIP_DEFAULT_REGISTRY_FALLBACK
degrz    reproducible bool REPRODUCIBLE
degrz    single-snapshot bool SINGLE_SNAPSHOT
degrz    skip-push-permission-check bool SKIP_PUSH_PERMISSION_CHECK
degrz    skip-tls-verify-pull bool SKIP_TLS_VERIFY_PULL
degrz    skip-tls-verify-registry bool SKIP_TLS_VERIFY_REGISTRY
degrz    use-new-run bool USE_NEW_RUN
degrz    ignore-var-run bool IGNORE_VAR_RUN
degrz    ignore-path str IGNORE_PATH
d        ignore-paths csv IGNORE_PATHS
degrz    image-fs-extract-retry int IMAGE_FS_EXTRACT_RETRY
degrz    image-download-retry int IMAGE_DOWNLOAD_RETRY
e        docker-registry str DOCKER_REGISTRY $DOCKER_REGISTRY BASE_IMAGE_REGISTRY
e        docker-username str USERNAME DOCKER_USERNAME BASE_IMAGE_USERNAME $DOCKER_USERNAME
e        docker-password str PASSWORD DOCKER_PASSWORD BASE_IMAGE_PASSWORD $DOCKER_PASSWORD
ez       create-repository bool CREATE_REPOSITORY
e        region str REGION = us-east-1
erz      registry str REGISTRY
e        access-key str ACCESS_KEY
e        secret-key str SECRET_KEY
e        assume-role str ASSUME_ROLE
e        external-id str EXTERNAL_ID
ez       lifecycle-policy str LIFECYCLE_POLICY
ez       repository-policy str REPOSITORY_POLICY
ez       oidc-token-id str OIDC_TOKEN_ID
g        registry str REGISTRY $BASE_REGISTRY = gcr.io
gr       json-key str JSON_KEY
z        client-secret str $CLIENT_SECRET CLIENT_SECRET
z        client-cert str $CLIENT_CERTIFICATE CLIENT_CERTIFICATE
z        tenant-id str $TENANT_ID $AZURE_TENANT_ID TENANT_ID
z        subscription-id str $SUBSCRIPTION_ID SUBSCRIPTION_ID
z        client-id str $CLIENT_ID $AZURE_CLIENT_ID CLIENT_ID $AZURE_APP_ID
z        azure-authority-host str $AZURE_AUTHORITY_HOST
z        image-name-with-digest-file csv IMAGE_NAME_WITH_DIGEST_FILE
"""


@frozen(kw_only=True)
class Flag:
    """One flag of one program; *default* is as a variable would have it."""

    name: str
    kind: Kind
    variables: tuple[str, ...]
    default: str = ""


@cache
def flags_of(program: str) -> tuple[Flag, ...]:
    """The flags of one of `PROGRAMS`, in the table's order."""
    letter = PROGRAMS[program]
    return tuple(_flag(row) for row in _TABLE.splitlines() if letter in row.partition(" ")[0])


def _flag(row: str) -> Flag:
    declared, _, default = row.partition(" = ")
    _, name, kind, *variables = declared.split()
    return Flag(
        name=name,
        kind=cast("Kind", kind),
        variables=tuple(
            short.removeprefix("$") if short.startswith("$") else f"PLUGIN_{short}"
            for short in variables
        ),
        default=default,
    )
