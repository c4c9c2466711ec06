"""kaniko: builds without any privilege, in a container of its own or in a cluster's pods."""
