"""Tokens of Microsoft Entra and of Azure's machines, and what a registry gives for them."""
