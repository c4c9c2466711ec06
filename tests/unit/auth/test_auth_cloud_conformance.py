"""The clouds' keychains against the suite that others' are held to, with servers to ask."""

from pathlib import Path

import pytest
from stand_in_azure import CLIENT, REGISTRY, TENANT, AzureStandIn
from stand_in_google import GoogleStandIn, workload_identity
from stand_in_internet import Internet

from buildpush.auth import Keychain
from buildpush.auth.acr import AzureKeychain, ServicePrincipal
from buildpush.auth.gar import GoogleKeychain
from buildpush.oci import Repository
from buildpush.testing.conformance import KeychainConformance


class TestAzure(KeychainConformance):
    @pytest.fixture
    def own(self) -> Repository:
        return Repository(REGISTRY, "app")

    @pytest.fixture
    def keychain(self, internet: Internet, tmp_path: Path) -> Keychain:
        azure = AzureStandIn(internet)
        source = ServicePrincipal(client_id=CLIENT, client_secret=azure.secret, tenant_id=TENANT)
        return AzureKeychain(source=source, environment=internet.environment(tmp_path))


class TestFederatedGoogle(KeychainConformance):
    @pytest.fixture
    def own(self) -> Repository:
        return Repository("europe-west1-docker.pkg.dev", "acme/images/app")

    @pytest.fixture
    def keychain(self, google: GoogleStandIn, internet: Internet, tmp_path: Path) -> Keychain:
        environment = internet.environment(tmp_path)
        return GoogleKeychain(source=workload_identity(), environment=environment)
