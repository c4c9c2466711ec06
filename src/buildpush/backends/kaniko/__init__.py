"""kaniko: builds in a container of its own or in a cluster's pods, without any privilege."""
