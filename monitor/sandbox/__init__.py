"""A simulated vendor and a receiver, real HTTP on loopback, for `credit-monitor demo` and for the tests."""

from monitor.sandbox.faults import Fault
from monitor.sandbox.loopback import Reply, Request
from monitor.sandbox.receiver import Behaviour, Received, Receiver
from monitor.sandbox.scenario import DEMO_V1_KEY, DEMO_V1ALPHA_KEY, DEMO_WALLET_KEY, Wallet, demo_vendor, run_scenario
from monitor.sandbox.vendor import Limit, SandboxOrganization, Vendor

__all__ = [
    "DEMO_V1ALPHA_KEY",
    "DEMO_V1_KEY",
    "DEMO_WALLET_KEY",
    "Behaviour",
    "Fault",
    "Limit",
    "Received",
    "Receiver",
    "Reply",
    "Request",
    "SandboxOrganization",
    "Vendor",
    "Wallet",
    "demo_vendor",
    "run_scenario",
]
